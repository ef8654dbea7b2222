"""Every form of a report says the same, exactly, and what programs sent stays text in each of them."""

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.reports.sample import HOSTILE, sample

from fleetpulse.query.periods import KINDS, Kind
from fleetpulse.query.report import Report
from fleetpulse.reports.layout import render, to_mail, view
from fleetpulse.reports.view import subject
from fleetpulse.reports.words import Lang

LANGS: tuple[Lang, ...] = ("en", "zh")
each_kind = pytest.mark.parametrize("kind", KINDS)
each_lang = pytest.mark.parametrize("lang", LANGS)


class Tables(HTMLParser):
    """The tables of a page: by section, rows of (text, exact value)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: dict[str, list[list[tuple[str, str | None]]]] = {"": []}
        self.tags: set[str] = set()
        self._section = ""
        self._cell: list[str] | None = None
        self._value: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        own = dict(attrs)
        if tag == "section":
            self._section = own["data-section"] or ""
            self.sections[self._section] = []
        elif tag == "tr":
            self.sections[self._section].append([])
        elif tag in ("td", "th"):
            self._cell, self._value = [], None
        elif tag == "data":
            self._value = own["value"]

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.sections[self._section][-1].append(("".join(self._cell), self._value))
            self._cell = None


def column(page: str, section: str, place: int) -> list[float]:
    rows = Tables(page).sections[section][1:]
    return [float(row[place][1] or "nan") for row in rows]


def lines(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(report, "csv", "en").removeprefix("\ufeff"))))


def values(report: Report, section: str, metric: str) -> list[float]:
    return [
        float(line["value"]) for line in lines(report) if (line["section"], line["metric"]) == (section, metric)
    ]


@each_kind
def test_the_page_holds_the_exact_figures(kind: Kind) -> None:
    report = sample(kind)
    page = render(report, "html", "en")
    assert column(page, "by_source", 6) == [group.total_cost for group in report.by_source]
    assert column(page, "by_model", 1) == [group.total_requests for group in report.by_model]
    assert column(page, "series", 4) == [point.cost for point in report.series.points]
    assert column(page, "by_status", 1) == [each.requests for each in report.by_status]
    assert column(page, "budgets", 4) == [each.spent for each in report.budgets]
    assert sum(column(page, "series", 4)) == pytest.approx(report.totals.total_cost, abs=1e-9)


@each_kind
def test_the_spreadsheet_holds_the_exact_figures(kind: Kind) -> None:
    report = sample(kind)
    step = f"by_{report.series.step}"
    assert values(report, "totals", "total_cost") == [report.totals.total_cost]
    assert values(report, "by_source", "total_cost") == [group.total_cost for group in report.by_source]
    assert values(report, step, "cost") == [point.cost for point in report.series.points]
    assert values(report, step, "requests") == [point.requests for point in report.series.points]
    assert values(report, "budgets", "spent") == [each.spent for each in report.budgets]
    assert sum(values(report, step, "cost")) == pytest.approx(report.totals.total_cost, abs=1e-9)
    (cost,) = [line for line in lines(report) if (line["section"], line["metric"]) == ("totals", "total_cost")]
    assert float(cost["previous"]) == report.previous.totals.total_cost
    assert float(cost["change"]) == pytest.approx(report.totals.total_cost - report.previous.totals.total_cost)


@each_kind
@each_lang
def test_markdown_and_email_show_what_the_page_shows(kind: Kind, lang: Lang) -> None:
    report = sample(kind)
    page = Tables(render(report, "html", lang)).sections
    document, mail = render(report, "md", lang), to_mail(view(report, lang))
    rows = [row for name, section in page.items() if name for row in section[1:]]
    assert len(rows) > 15
    markdown = [
        [re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in document.splitlines()
    ]
    for row in rows:
        texts = [" ".join(text.split()) for text, _ in row]
        assert texts in markdown
    mailed = Tables(f'<section data-section="mail">{mail}').sections["mail"]
    shown = [[text for text, _ in row] for row in mailed]
    assert all([text for text, _ in row] in shown for row in rows)


def test_json_is_the_report_with_times_in_utc() -> None:
    report = sample()
    again = Report.model_validate_json(render(report, "json", "en"))
    assert again == report
    assert again.start.utcoffset() != report.start.utcoffset()
    assert '"start":"2025-05-11T22:00:00.000Z"' in render(report, "json", "zh")


# What came from outside ---------------------------------------------------------------------------------------
@each_lang
def test_no_text_becomes_a_formula(lang: Lang) -> None:
    for line in csv.reader(io.StringIO(render(sample(), "csv", lang).removeprefix("\ufeff"))):
        for cell in filter(None, line):
            assert cell[0] not in "=@\t\r\n＝＋－＠"
            assert cell[0] not in "+-" or re.fullmatch(r"-[0-9.e-]+", cell)
    assert f'by_source,"\'{HOSTILE.replace(chr(34), chr(34) * 2)}",total_requests' in render(sample(), "csv", lang)


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "＝1+1"])
def test_every_beginning_of_a_formula_is_known(start: str) -> None:
    report = sample()
    report.by_source[0] = report.by_source[0].model_copy(update={"source": start})
    assert f"'{start}" in {line["name"] for line in lines(report)}


@each_lang
def test_no_text_becomes_markup(lang: Lang) -> None:
    report = sample()
    for page in (render(report, "html", lang), to_mail(view(report, lang))):
        assert "script" not in Tables(page).tags
        assert "img" not in Tables(page).tags
        assert "<script" not in page.replace("&lt;script", "")
    document = render(report, "md", lang)
    assert not re.search(r"(?<!\\)<", document)
    assert "http://evil" not in document
    assert not re.search(r"(?<![\\\d*])\*(?!\*)b", document)


@each_lang
def test_no_subject_has_a_line_break(lang: Lang) -> None:
    report = sample().model_copy(update={"source": "a\r\nBcc: x@example.com"})
    assert subject(report, lang).isprintable()


# What stands out ----------------------------------------------------------------------------------------------
def test_the_headline_says_it_in_words() -> None:
    said = view(sample(), "en").headline
    report = sample()
    assert f"{report.totals.total_requests:,} requests were made" in said
    assert "12 May 2025 so far, until 2025-05-12 14:05" in said
    assert "50 % less than by the same time the day before" in said
    assert "Most of the cost came from telegram (50 %)." in said
    assert "3 requests have no known cost." in said
    assert "The budget daily is spent." in said
    assert said.endswith("2 alerts fired.")
    assert "的" in view(sample(), "zh").headline


def test_a_whole_period_is_not_so_far() -> None:
    whole = view(sample("monthly", complete=True), "en")
    assert whole.headline.startswith("April 2025: ")
    assert "than the month before" in whole.headline
    assert view(sample("weekly", complete=True), "en").when == "5 May 2025 to 11 May 2025"


def emptied(**totals: Any) -> Report:
    report = sample()
    nothing = report.totals.model_copy(
        update={
            "total_requests": 0,
            "failed_requests": 0,
            "success_rate": None,
            "avg_execution_time": None,
            "total_tokens": 0,
            "total_cost": 0.0,
            "unpriced_requests": 0,
        }
        | totals
    )
    uncovered = report.covered.model_copy(update={"start": None, "end": None, "complete": False})
    previous = report.previous.model_copy(update={"totals": nothing, "changes": None, "covered": uncovered})
    empty: dict[str, Any] = {"by_source": [], "by_model": [], "by_status": [], "budgets": []}
    return report.model_copy(update={"totals": nothing, "previous": previous, **empty})


@each_lang
def test_nothing_is_told_of_nothing(lang: Lang) -> None:
    laid_out = view(emptied(), lang)
    assert laid_out.charts == []
    assert {card.tone for card in laid_out.cards} == {"plain"}
    assert {card.before for card in laid_out.cards} == {""}
    page, document = render(emptied(), "html", lang), render(emptied(), "md", lang)
    assert "nan" not in page.lower().replace("finance", "")
    assert "None" not in document.replace(laid_out.words("nothing"), "")


def test_what_was_not_recorded_is_said() -> None:
    report = emptied()
    unrecorded = report.model_copy(update={"covered": report.previous.covered})
    assert "Nothing was recorded." in view(unrecorded, "en").headline
    assert "There were no requests." in view(report, "en").headline
    assert "nothing to compare with" in " ".join(view(report, "en").notes)
