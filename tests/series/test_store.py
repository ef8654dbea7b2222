"""The durable series: lines are rendered again only where they changed; histograms add up; exemplars are newest."""

import re

import pytest
from tests.journal.stand import NOW, at_work, request
from tests.series.page import OPENMETRICS, TEXT, Page

from fleetpulse import catalogue
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.totals import Key, Total
from fleetpulse.series.exemplars import exemplar
from fleetpulse.series.fold import BUCKET, SUM
from fleetpulse.series.store import SeriesStore

SERIES = {"source": "telegram", "model": "gpt-4o"}
BUCKETS = "fleetpulse_request_duration_seconds_bucket"
BOUNDS = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.0", "3.0", "5.0", "10.0", "30.0", "60.0", "120.0", "+Inf")


def buckets(page: Page, accept: str = TEXT, **labels: str) -> list[float]:
    scraped = page.scrape(accept)
    return [scraped.value(BUCKETS, **(labels or SERIES), le=bound) for bound in BOUNDS]


def test_histograms_are_cumulative_and_consistent() -> None:
    page = Page()
    seconds = (0.0, 0.05, 0.0500001, 0.3, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 5.0000001, 120.0, 121.0, 1e6)
    page.take(*(request(f"r{number}", execution_time=each) for number, each in enumerate(seconds)))
    expected = [float(sum(each <= float(bound) for each in seconds)) for bound in BOUNDS]
    for accept in (TEXT, OPENMETRICS):
        assert buckets(page, accept) == expected
        scraped = page.scrape(accept)
        assert scraped.value("fleetpulse_request_duration_seconds_count", **SERIES) == len(seconds)
        assert scraped.value("fleetpulse_request_duration_seconds_sum", **SERIES) == pytest.approx(sum(seconds))


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_a_change_is_shown_at_the_next_scrape_and_in_its_own_lines_only(accept: str) -> None:
    page = Page()
    page.take(request("a"), request("b", source="wechat"))
    before = page.scrape(accept)
    assert page.scrape(accept).body.split("process_")[0] == before.body.split("process_")[0]
    page.take(request("c", execution_time=100.0))
    after = page.scrape(accept)
    assert after.value("fleetpulse_requests_total", **SERIES, status="success") == 2
    assert buckets(page, accept)[-3:] == [1.0, 2.0, 2.0]
    wechat = {"source": "wechat", "model": "gpt-4o"}
    assert after.value("fleetpulse_requests_total", **wechat, status="success") == 1
    assert buckets(page, accept, **wechat)[-1] == 1.0


def test_lines_that_did_not_change_are_not_rendered_again() -> None:
    page = Page()
    page.take(request("a"), request("b", source="wechat"))
    page.scrape()
    telegram = page.store.child(catalogue.REQUESTS, ("telegram", "gpt-4o", "success"))
    wechat = page.store.child(catalogue.REQUESTS, ("wechat", "gpt-4o", "success"))
    lines = [child.lines(openmetrics=False) for child in (telegram, wechat)]
    page.take(request("c"))
    assert wechat.lines(openmetrics=False) is lines[1]
    assert telegram.lines(openmetrics=False) is not lines[0]


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ({"0.75": 3}, {"1.0": 3.0}),
        ({"0.5": 1, "0.75": 2, "1.0": 4}, {"0.5": 1.0, "1.0": 7.0}),
        ({"600.0": 5, "120.0": 1}, {"120.0": 1.0, "+Inf": 6.0}),
        ({"0.001": 2, "+Inf": 1}, {"0.05": 2.0, "120.0": 2.0, "+Inf": 3.0}),
    ],
)
def test_buckets_of_an_older_version_keep_their_counts(kept: dict[str, int], shown: dict[str, float]) -> None:
    labels = ("telegram", "gpt-4o")
    totals = {Key(BUCKET, (*labels, bound)): Total(float(count), NOW) for bound, count in kept.items()}
    page = Page(restored=totals | {Key(SUM, labels): Total(9.5, NOW)})
    scraped = page.scrape()
    for bound, count in shown.items():
        assert scraped.value(BUCKETS, **SERIES, le=bound) == count
    assert scraped.value("fleetpulse_request_duration_seconds_count", **SERIES) == sum(kept.values())
    assert scraped.value("fleetpulse_request_duration_seconds_sum", **SERIES) == 9.5
    page.take(request("new", execution_time=0.8))
    assert buckets(page)[-1] == sum(kept.values()) + 1


def test_a_total_of_a_metric_that_is_gone_is_passed_over() -> None:
    store = SeriesStore()
    store.apply({Key("fleetpulse_of_an_older_version_total", ("x",)): Total(1.0, NOW)})
    assert b"".join(store.render(openmetrics=False)) == b""


async def test_created_times_survive_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("data") / "journal.db"
    async with at_work(path, clock=lambda: NOW) as stand:
        await stand.journal.store(REQUESTS, [request("a")])
    async with at_work(path, clock=lambda: NOW + 500.0) as stand:
        await stand.journal.store(REQUESTS, [request("b"), request("c", status="error")])
        page = Page(restored=stand.journal.totals).scrape(OPENMETRICS)
    assert page.value("fleetpulse_requests_total", **SERIES, status="success") == 2
    assert page.value("fleetpulse_requests_created", **SERIES, status="success") == NOW
    assert page.value("fleetpulse_requests_created", **SERIES, status="error") == NOW + 500.0
    assert page.value("fleetpulse_request_duration_seconds_created", **SERIES) == NOW


def test_plain_text_has_no_created_samples() -> None:
    page = Page()
    page.take(request("a"))
    assert "_created" not in page.scrape(TEXT).body


# Exemplars ----------------------------------------------------------------------------------------------------
def test_the_newest_request_of_each_bucket_is_its_exemplar() -> None:
    page = Page()
    page.take(
        request("old", execution_time=0.6, trace_id="t1"),
        request("new", execution_time=0.7, trace_id="t2", received_at=NOW + 0.125),
        request("slow", execution_time=7.0, trace_id=None),
    )
    scraped = page.scrape(OPENMETRICS)
    found = {dict(key[1])["le"]: each for key, each in scraped.exemplars.items()}
    assert set(found) == {"1.0", "10.0"}
    assert found["1.0"].labels == {"trace_id": "t2", "request_id": "new"}
    assert (found["1.0"].value, float(found["1.0"].timestamp or 0)) == (0.7, NOW + 0.125)
    assert found["10.0"].labels == {"request_id": "slow"}
    page.take(request("newer", execution_time=0.99))
    found = {dict(key[1])["le"]: each for key, each in page.scrape(OPENMETRICS).exemplars.items()}
    assert found["1.0"].labels["request_id"] == "newer"
    assert found["10.0"].labels["request_id"] == "slow"


def test_plain_text_has_no_exemplars() -> None:
    page = Page()
    page.take(request("a", trace_id="t1"))
    page.scrape(OPENMETRICS)
    assert " # {" not in page.scrape(TEXT).body


@pytest.mark.parametrize(
    ("trace_id", "request_id", "kept"),
    [
        ("t" * 32, "r" * 36, ["trace_id", "request_id"]),
        ("t" * 32, "r" * (128 - 8 - 32 - 10), ["trace_id", "request_id"]),
        ("t" * 32, "r" * (128 - 8 - 32 - 10 + 1), ["trace_id"]),
        ("t" * 120, "r", ["trace_id"]),
        ("t" * 121, "r", ["request_id"]),
        (None, "请" * 118, ["request_id"]),
        ("t" * 121, "r" * 119, []),
    ],
)
def test_exemplars_have_at_most_128_characters(trace_id: str | None, request_id: str, kept: list[str]) -> None:
    text = exemplar(request(request_id, trace_id=trace_id))
    found = re.findall(r'(\w+)="([^"]*)"', text)
    assert [name for name, _ in found] == kept
    assert sum(len(name) + len(value) for name, value in found) <= 128
    page = Page()
    page.take(request(request_id, trace_id=trace_id))
    assert len(page.scrape(OPENMETRICS).exemplars) == bool(kept)


def test_awkward_ids_are_escaped_in_exemplars() -> None:
    page = Page()
    page.take(request('"quoted"\\', trace_id="迹"))
    (found,) = page.scrape(OPENMETRICS).exemplars.values()
    assert found.labels == {"trace_id": "迹", "request_id": '"quoted"\\'}


def test_a_row_that_was_folded_into_other_leaves_no_exemplar() -> None:
    store = SeriesStore()
    store.remember([request("a")])
    assert b"".join(store.render(openmetrics=True)) == b""
