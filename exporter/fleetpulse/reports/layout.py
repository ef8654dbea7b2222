"""A report laid out in one language, and each of its forms as text."""

from functools import cache
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from fleetpulse.query.report import Report
from fleetpulse.reports.headline import headline
from fleetpulse.reports.markdown import to_markdown
from fleetpulse.reports.plots import charts
from fleetpulse.reports.spreadsheet import to_csv
from fleetpulse.reports.tables import cards, tables
from fleetpulse.reports.view import View, footer, notes, title, when, words_for
from fleetpulse.reports.words import Lang

Format = Literal["json", "md", "html", "csv"]
PAGE = "report.html.j2"
MAIL = "mail.html.j2"


def view(report: Report, lang: Lang) -> View:
    """The report in words."""
    words = words_for(report, lang)
    return View(
        lang=lang,
        language=words("language"),
        title=title(report, words),
        when=when(report, words),
        headline=headline(report, words),
        notes=notes(report, words),
        cards=cards(report, words),
        charts=charts(report, words),
        tables=tables(report, words),
        footer=footer(report, words),
        words=words,
    )


def render(report: Report, form: Format, lang: Lang) -> str:
    """One form of the report. JSON and CSV are the same in every language."""
    if form == "json":
        return report.model_dump_json()
    if form == "csv":
        return to_csv(report)
    laid_out = view(report, lang)
    return to_markdown(laid_out) if form == "md" else to_page(laid_out)


def file_name(report: Report) -> str:
    """A report's file without its ending: `fleetpulse-daily-2025-05-12`."""
    return f"fleetpulse-{report.report}-{report.first_day}"


def to_page(laid_out: View) -> str:
    """One self-contained page: it asks nobody for anything, runs no script, and prints."""
    return _templates().get_template(PAGE).render(view=laid_out)


def to_mail(laid_out: View) -> str:
    """The HTML of an e-mail: tables and inline styles, which mail programs understand."""
    return _templates().get_template(MAIL).render(view=laid_out)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("fleetpulse.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
