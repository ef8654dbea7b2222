"""Label caps: past the cap a value is counted under `other`; sums stay exact, in this life and the next."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal.stand import alert, at_work, request
from tests.series.page import Page

from fleetpulse.config import Limits
from fleetpulse.journal import ALERTS, REQUESTS, RequestRow
from fleetpulse.series.labels import OTHER, LabelCaps

LIMITS = Limits(sources=3, models=2, statuses=2, alertnames=1)


def test_the_first_values_keep_their_names_for_good() -> None:
    caps = LabelCaps({"source": 2})
    assert [caps.fold("source", each) for each in "abcacb"] == ["a", "b", OTHER, "a", OTHER, "b"]


def test_a_value_called_other_takes_no_place() -> None:
    caps = LabelCaps({"source": 1})
    assert [caps.fold("source", each) for each in (OTHER, "a", "b")] == [OTHER, "a", OTHER]


def test_values_admitted_under_a_larger_cap_stay() -> None:
    caps = LabelCaps({"source": 1})
    caps.restore("source", ["a", "b", "c"])
    assert [caps.fold("source", each) for each in "abcd"] == ["a", "b", "c", OTHER]


def test_each_label_has_its_own_cap() -> None:
    caps = LabelCaps({"source": 1, "model": 1})
    assert caps.fold("source", "a") == "a"
    assert caps.fold("model", "b") == "b"


rows = st.lists(
    st.builds(
        lambda source, model, status, eighths: request(
            "r", source=source, model=model, status=status, cost=eighths / 8, execution_time=eighths / 8
        ),
        st.sampled_from("abcdefg"),
        st.sampled_from(["m", "n", "o", None]),
        st.sampled_from(["success", "error", "timeout"]),
        st.integers(0, 50),
    ),
    max_size=30,
)


@given(batches=st.lists(rows, max_size=5))
def test_sums_are_exact_whatever_is_folded(batches: list[list[RequestRow]]) -> None:
    page = Page(LIMITS)
    for batch in batches:
        page.take(*batch)
    everything = [row for batch in batches for row in batch]
    scraped = page.scrape()
    assert scraped.total("fleetpulse_requests_total") == len(everything)
    assert scraped.total("fleetpulse_cost_usd_total") == sum(row.cost or 0 for row in everything)
    assert scraped.total("fleetpulse_tokens_total") == 30 * len(everything)
    assert scraped.total("fleetpulse_request_duration_seconds_count") == len(everything)
    seconds = sum(row.execution_time for row in everything)
    assert scraped.total("fleetpulse_request_duration_seconds_sum") == seconds
    for label, cap in (("source", 3), ("model", 2), ("status", 2)):
        shown = {labels[label] for labels in scraped.labels("fleetpulse_requests_total")}
        assert len(shown - {OTHER}) <= cap
        folded = sum(
            value
            for (name, labels), value in scraped.values.items()
            if name == "fleetpulse_requests_total" and dict(labels)[label] == OTHER
        )
        counted = scraped.has("fleetpulse_label_values_folded_total", label=label)
        assert folded == (scraped.value("fleetpulse_label_values_folded_total", label=label) if counted else 0)


@given(before=rows, after=rows)
def test_a_restart_folds_what_was_folded_before(before: list[RequestRow], after: list[RequestRow]) -> None:
    never_stopped = Page(LIMITS)
    never_stopped.take(*before)
    restarted = never_stopped.restart()
    never_stopped.take(*after)
    restarted.take(*after)
    assert restarted.totals == never_stopped.totals


async def test_the_cap_holds_across_a_restart_of_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with at_work(path, limits=LIMITS) as stand:
        await stand.journal.store(REQUESTS, [request(each, source=each) for each in "abcd"])
    async with at_work(path, limits=LIMITS) as stand:
        await stand.journal.store(REQUESTS, [request(f"{each}2", source=each) for each in "eadc"])
        page = Page(LIMITS, restored=stand.journal.totals).scrape()
    counts = {
        labels["source"]: page.value("fleetpulse_requests_total", **labels)
        for labels in page.labels("fleetpulse_requests_total")
    }
    assert counts == {"a": 2.0, "b": 1.0, "c": 2.0, OTHER: 3.0}
    assert page.value("fleetpulse_label_values_folded_total", label="source") == 3


def test_alert_names_are_capped() -> None:
    page = Page(LIMITS)
    page.take(alert("f1"), alert("f2", alertname="Another"), alert("f3", alertname="Third"), table=ALERTS)
    scraped = page.scrape()
    assert scraped.value("fleetpulse_alert_events_total", alertname="BudgetExceeded", status="firing") == 1
    assert scraped.value("fleetpulse_alert_events_total", alertname=OTHER, status="firing") == 2
    assert scraped.value("fleetpulse_label_values_folded_total", label="alertname") == 2


def test_a_raised_cap_gives_later_values_their_names() -> None:
    page = Page(Limits(sources=1))
    page.take(*(request(each, source=each) for each in "ab"))
    raised = page.restart(Limits(sources=2))
    raised.take(*(request(each, source=each) for each in "bc"))
    sources = [labels["source"] for labels in raised.scrape().labels("fleetpulse_requests_total")]
    assert sorted(sources) == ["a", "b", OTHER]


@pytest.mark.parametrize("source", ["x" * 128, "群" * 128])
def test_the_longest_names_are_labels_like_others(source: str) -> None:
    page = Page()
    page.take(request("a", source=source))
    assert page.scrape().value("fleetpulse_requests_total", source=source, model="gpt-4o", status="success") == 1
