"""A report as Markdown, with tables as GitHub and most others read them.

What came from outside is escaped: it can neither format the page, nor break a table, nor bring in HTML or links.
"""

import re

from fleetpulse.reports.view import Table, View

SPECIAL = re.compile(r"[\\`*_\[\]<>|~&#]|:(?=//)|(?<=www)\.", re.IGNORECASE)  # the last two would make links


def to_markdown(view: View) -> str:
    """The whole document."""
    parts = [f"# {escape(view.title)}", f"**{escape(view.when)}**", escape(view.headline)]
    parts += ["\n".join(f"- {escape(note)}" for note in view.notes)]
    for table in view.tables:
        parts += [f"## {escape(table.title)}", *_section(table, view)]
    return "\n\n".join([*filter(None, parts), escape(view.footer)]) + "\n"


def escape(text: str) -> str:
    """Text that means itself, on one line."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _section(table: Table, view: View) -> list[str]:
    if not table.rows:
        return [view.words("nothing")]
    return [_table(table), *map(escape, table.notes)]


def _table(table: Table) -> str:
    numbers = [cell.number for cell in table.rows[0]]
    head = _row([escape(column) for column in table.columns])
    rule = _row(["---:" if number else "---" for number in numbers])
    return "\n".join([head, rule, *(_row([escape(cell.text) for cell in row]) for row in table.rows)])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
