"""The page in a real browser: it renders without asking anybody for anything, and what programs sent cannot act."""

from pathlib import Path

import pytest
from tests.reports.browser import browser
from tests.reports.sample import HOSTILE, sample

from fleetpulse.query.periods import KINDS, Kind
from fleetpulse.reports.layout import render
from fleetpulse.reports.words import Lang

POINTS = "[...document.querySelectorAll('figure')].map(f => [f.dataset.chart, f.querySelectorAll('.point').length])"
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
SEEN = "document.body.innerText"
FIGURES = """[...document.querySelectorAll('.card')].map(c => [c.dataset.figure, c.querySelector('data').value])"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lang", ["en", "zh"])
async def test_it_stands_alone(tmp_path: Path, kind: Kind, lang: Lang) -> None:
    report = sample(kind, complete=kind == "weekly")
    page = tmp_path / "report.html"
    page.write_text(render(report, "html", lang), encoding="utf-8")
    async with browser(tmp_path) as tab:
        await tab.open(page.as_uri())
        assert [address for address in tab.requests if not address.startswith("data:")] == [page.as_uri()]
        assert tab.complaints == []
        slots = len(report.series.points)
        marks = {"requests": slots, "cost": slots, "by_source": 3, "by_model": 2}
        assert dict(await tab.value(POINTS)) == marks
        figures = {name: float(value) for name, value in await tab.value(FIGURES)}
        assert figures == {name: getattr(report.totals, name) for name in figures}
        assert len(figures) == 6
        assert await tab.value("document.scripts.length") == 0
        assert await tab.value("document.images.length") == 0
        assert HOSTILE in await tab.value(SEEN)
        assert await tab.value("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
        assert tab.complaints == []


async def test_it_fits_a_telephone_a_dark_room_and_paper(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(sample(), "html", "en"), encoding="utf-8")
    ground = "getComputedStyle(document.body).backgroundColor"
    async with browser(tmp_path) as tab:
        await tab.open(page.as_uri())
        await tab.look(tmp_path / "light.png")
        light = await tab.value(ground)
        await tab.look(tmp_path / "dark.png", scheme="dark")
        assert await tab.value(ground) != light
        assert await tab.value("getComputedStyle(document.querySelector('svg text')).fill") != "rgb(0, 0, 0)"
        await tab.look(tmp_path / "paper.png", scheme="dark", media="print")
        assert await tab.value(ground) == "rgb(255, 255, 255)"
        await tab.look(tmp_path / "narrow.png", width=390)
        assert not await tab.value(OVERFLOW)
        printed = await tab.call("Page.printToPDF", printBackground=True)
        assert len(printed["data"]) > 10_000
        assert tab.complaints == []
