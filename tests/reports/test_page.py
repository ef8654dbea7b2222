"""The page in a real browser: it renders without asking anybody for anything, and what programs sent cannot act."""

from pathlib import Path

import pytest
from tests.reports.sample import HOSTILE, sample
from tests.web.browser import Tab, browse

from fleetpulse.query.periods import KINDS, Kind
from fleetpulse.query.report import Report
from fleetpulse.reports.layout import render, to_mail, view
from fleetpulse.reports.words import Lang

POINTS = "[...document.querySelectorAll('figure')].map(f => [f.dataset.chart, f.querySelectorAll('.point').length])"
FIGURES = "[...document.querySelectorAll('.card')].map(c => [c.dataset.figure, c.querySelector('data').value])"
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
GROUND = "getComputedStyle(document.body).backgroundColor"
LANGUAGE = {"en": "en", "zh": "zh-CN"}


def show(tab: Tab, folder: Path, text: str) -> str:
    """Opens a page as a manager would who got it as a file; its address."""
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
    tab.open(page.as_uri())
    tab.until("document.readyState === 'complete' && document.body !== null && document.title !== ''")
    return page.as_uri()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_stands_alone(tmp_path: Path, kind: Kind, lang: Lang) -> None:
    report = sample(kind, complete=kind == "weekly")
    with browse(tmp_path) as tab:
        address = show(tab, tmp_path, render(report, "html", lang))
        assert {each for each in tab.requests if not each.startswith(("data:", "about:"))} == {address}
        assert dict(tab.evaluate(POINTS)) == marks(report)
        figures = {name: float(value) for name, value in tab.evaluate(FIGURES)}
        assert figures == {name: getattr(report.totals, name) for name in figures}
        assert len(figures) == 6
        assert tab.evaluate("document.scripts.length + document.images.length") == 0
        assert HOSTILE in tab.evaluate("document.body.innerText")
        assert tab.evaluate("document.documentElement.lang") == LANGUAGE[lang]
        assert tab.complaints == []


def marks(report: Report) -> dict[str, int]:
    slots = len(report.series.points)
    return {"requests": slots, "cost": slots, "by_source": len(report.by_source), "by_model": len(report.by_model)}


def test_it_fits_a_telephone_a_dark_room_and_paper(tmp_path: Path) -> None:
    with browse(tmp_path) as tab:
        show(tab, tmp_path, render(sample(), "html", "en"))
        tab.screen(1_100, 900)
        light = tab.evaluate(GROUND)
        tab.screen(390, 800, dark=True)
        assert tab.evaluate(GROUND) != light
        assert not tab.evaluate(OVERFLOW)
        tab.call("Emulation.setEmulatedMedia", media="print")
        assert tab.evaluate(GROUND) == "rgb(255, 255, 255)"
        assert len(tab.call("Page.printToPDF", printBackground=True)["data"]) > 10_000
        assert tab.complaints == []


def test_the_page_forbids_what_it_does_not_need(tmp_path: Path) -> None:
    """Its policy holds even if some text became markup: neither script nor picture is let through."""
    hole = (
        '<script>document.title = "taken"</script><img src="http://127.0.0.1:9/x.png" onerror="document.title = 1">'
    )
    with browse(tmp_path) as tab:
        show(tab, tmp_path, render(sample(), "html", "en").replace("</main>", f"{hole}</main>"))
        tab.until("document.images.length === 1")
        assert tab.evaluate("document.title").startswith("Daily report")
        assert "Content Security Policy" in " ".join(tab.complaints)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_email_renders(tmp_path: Path, lang: Lang) -> None:
    with browse(tmp_path) as tab:
        address = show(tab, tmp_path, to_mail(view(sample("weekly", complete=True), lang)))
        assert {each for each in tab.requests if not each.startswith(("data:", "about:"))} <= {address}
        tab.screen(760, 900)
        assert not tab.evaluate(OVERFLOW)
        assert HOSTILE in tab.evaluate("document.body.innerText")
