"""A report in words: what Markdown, the page and the e-mail all show, so that none says more than another.

Cells keep the exact value beside the text that people read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup

import fleetpulse
from fleetpulse.query.periods import Period, period_of
from fleetpulse.query.report import Coverage, Report
from fleetpulse.reports.numbers import usd
from fleetpulse.reports.words import Lang, long_day, month, say, short_day

SHOWN_GAPS = 3
Value = float | int | str | None


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place. `value` is exact; `number` aligns it to the right."""

    text: str
    value: Value = None
    number: bool = False


@dataclass(frozen=True)
class Table:
    """A section: its title, a table (nothing where it has no rows), and remarks below it."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Card:
    """One of the six figures at the top. `tone` is good, bad or plain: what the change means."""

    name: str
    label: str
    text: str
    value: Value
    change: str
    before: str
    tone: str


@dataclass(frozen=True)
class Chart:
    """A chart of the page."""

    name: str
    title: str
    svg: Markup
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class View:
    """The whole report, ready to be laid out."""

    lang: Lang
    language: str
    title: str
    when: str
    headline: str
    notes: Sequence[str]
    cards: Sequence[Card]
    charts: Sequence[Chart]
    tables: Sequence[Table]
    footer: str
    words: "Words" = field(repr=False)


@dataclass(frozen=True)
class Words:
    """Words and times in one language and time zone."""

    lang: Lang
    zone: ZoneInfo

    def __call__(self, name: str, /, **blanks: object) -> str:
        """The words of this name."""
        return say(self.lang, name, **blanks)

    def count(self, name: str, number: int, /, **blanks: object) -> str:
        """The words for one, or for several."""
        return self(f"{name}.one" if number == 1 else name, **blanks)

    def time(self, moment: datetime) -> str:
        """2025-05-12 14:05, local."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M}"

    def clock(self, moment: datetime) -> str:
        """14:05, local."""
        return f"{moment.astimezone(self.zone):%H:%M}"

    def span(self, start: datetime, end: datetime) -> dict[str, str]:
        """The blanks of a sentence about a time."""
        return {"start": self.time(start), "end": self.time(end)}


def words_for(report: Report, lang: Lang) -> Words:
    """The words that fit a report."""
    return Words(lang, ZoneInfo(report.timezone))


def period_in(report: Report) -> Period:
    """The report's period, as the calendar has it."""
    return period_of(report.report, report.first_day, ZoneInfo(report.timezone))


def when(report: Report, words: Words) -> str:
    """Which day, week or month it is of."""
    period = period_in(report)
    if period.kind == "daily":
        return long_day(words.lang, period.first)
    if period.kind == "monthly":
        return month(words.lang, period.first)
    return f"{short_day(words.lang, period.first)} {words('to')} {short_day(words.lang, period.last)}"


def title(report: Report, words: Words) -> str:
    """Daily report, of one source maybe."""
    name = words(f"title.{report.report}")
    return name if report.source is None else f"{name}, {words('of_source', source=report.source)}"


def subject(report: Report, lang: Lang) -> str:
    """An e-mail's subject: what it is, of when, and the two figures that matter most. Never a line break."""
    words = words_for(report, lang)
    figures = (
        f"{usd(report.totals.total_cost)}, {report.totals.total_requests:,} {words('column.requests').lower()}"
    )
    return " ".join(f"Fleetpulse {title(report, words)}: {when(report, words)} ({figures})".split())


def notes(report: Report, words: Words) -> list[str]:
    """What to know before trusting the figures: what they cover, and what they are compared with."""
    previous = report.previous
    compared = words.span(previous.start, previous.end)
    said = [words("note.partial" if previous.partial else "note.whole", **compared)]
    said += _coverage(report.covered, words)
    if previous.covered.start is None:
        said.append(words("note.previous_uncovered"))
    elif not previous.covered.complete:
        said += [words("note.previous"), *_coverage(previous.covered, words)]
    if report.totals.unpriced_requests:
        said.append(words("note.unpriced"))
    return said


def _coverage(covered: Coverage, words: Words) -> list[str]:
    if covered.start is None or covered.end is None:
        return [words("note.uncovered")]
    if covered.complete:
        return []
    said = [words("note.covered", **words.span(covered.start, covered.end))]
    for gap in covered.gaps[:SHOWN_GAPS]:
        name = "note.gap.counted" if gap.counted else "note.gap"
        said.append(words(name, instance=gap.target.get("instance", ""), **words.span(gap.start, gap.end)))
    return said


def footer(report: Report, words: Words) -> str:
    """Who made it, when, and whose midnight it goes by."""
    made = words.time(report.generated_at)
    return words("footer", version=fleetpulse.__version__, time=made, timezone=report.timezone)
