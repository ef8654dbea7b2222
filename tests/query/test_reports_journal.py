"""What a report takes from the journal: alerts, corrections and budgets of a window, from a real file."""

import json
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import NOW, Run, Stand, alert, at_work, request

from fleetpulse.budgets import Budgets
from fleetpulse.config import Budget
from fleetpulse.journal import ALERTS, REQUESTS
from fleetpulse.query.alert_history import LISTED, alerts_between
from fleetpulse.query.budget_lines import BudgetBook
from fleetpulse.query.corrections import corrections_between
from fleetpulse.query.report import Alerts

DAY = 86_400.0
MIDNIGHT = 1_759_968_000.0  # Thursday, 2025-10-09, UTC
BUDGETS = (
    Budget(name="daily", limit_usd=1.0),
    Budget(name="weekly", limit_usd=10.0, period="week"),
    Budget(name="telegram", limit_usd=2.0, period="month", source="telegram"),
)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db", budgets=BUDGETS) as made:
        yield made


# Alerts -------------------------------------------------------------------------------------------------------
async def fire(stand: Stand, name: str, began: float, ended: float | None = None, **more: Any) -> None:
    """An alert that began and maybe ended, told at once."""
    starts_at = datetime.fromtimestamp(began, UTC).isoformat()
    labels = {"alertname": name, "severity": "warning"} | more.pop("labels", {})
    plain = {
        "alertname": name,
        "severity": "warning",
        "starts_at": starts_at,
        "labels": json.dumps(labels),
        "annotations": json.dumps({"summary": f"{name} 发生了"}),
    } | more
    rows = [alert(name, received_at=began, event_key=f"{name}/{starts_at}/firing", **plain)]
    if ended is not None:
        resolved = {
            "event_key": f"{name}/{starts_at}/resolved",
            "ends_at": datetime.fromtimestamp(ended, UTC).isoformat(),
        }
        rows.append(alert(name, "resolved", received_at=ended, **(plain | resolved)))
    await stand.journal.store(ALERTS, rows)


def alerts(stand: Stand, source: str | None = None) -> Alerts:
    with closing(stand.journal.reader()) as reader:
        return alerts_between(reader, NOW, NOW + DAY, source)


async def test_alerts_that_fired_in_the_window_are_there_whenever_they_began(kept: Stand) -> None:
    await fire(kept, "Before", NOW - 100, NOW - 50)
    await fire(kept, "Into", NOW - 100, NOW + 50)
    await fire(kept, "Since", NOW - 200)
    await fire(kept, "Within", NOW + 10, NOW + 20)
    await fire(kept, "Within", NOW + 30, NOW + 40)
    await fire(kept, "Beyond", NOW + 60, NOW + 2 * DAY)
    await fire(kept, "After", NOW + DAY, NOW + DAY + 10)
    found = alerts(kept)
    assert {each.alertname: each.times for each in found.by_name} == {
        "Into": 1,
        "Since": 1,
        "Within": 2,
        "Beyond": 1,
    }
    assert found.by_name[0].alertname == "Within"
    assert found.total == 5 == len(found.items)
    assert found.items[0].alertname == "Beyond"
    assert found.items[0].summary == "Beyond 发生了"
    ends = {each.alertname: each.ends_at for each in found.items}
    assert ends["Since"] is None
    assert ends["Into"] == datetime.fromtimestamp(NOW + 50, UTC)


async def test_the_watchdog_is_no_news(kept: Stand) -> None:
    await fire(kept, "Watchdog", NOW + 1, severity="none")
    assert alerts(kept) == Alerts(total=0, by_name=[], items=[])


async def test_of_one_source_are_its_own_and_everybodys(kept: Stand) -> None:
    await fire(kept, "Own", NOW + 1, labels={"source": "telegram"})
    await fire(kept, "Other", NOW + 2, labels={"source": "discord"})
    await fire(kept, "All", NOW + 3)
    assert [each.alertname for each in alerts(kept, "telegram").items] == ["All", "Own"]


async def test_the_list_is_bounded_and_the_count_is_not(kept: Stand) -> None:
    for number in range(LISTED + 5):
        await fire(kept, f"A{number}", NOW + number)
    found = alerts(kept)
    assert (found.total, len(found.items)) == (LISTED + 5, LISTED)


# Corrections --------------------------------------------------------------------------------------------------
async def test_corrections_count_when_they_are_made(kept: Stand) -> None:
    made = [
        (NOW - 1, "telegram", 1, 9.0),
        (NOW, "telegram", 2, 0.5),
        (NOW + 5, "discord", 3, -0.25),
        (NOW + DAY, "telegram", 4, 1.0),
    ]
    for at, source, requests, cost in made:
        row = f"('run {at}', {at}, 'me', '{source}', 'mystery-1', '', '{{}}', {requests}, {cost})"
        columns = "run_id, made_at, made_by, source, model, provider, price, requests, cost"
        await kept.journal.submit(Run(f"INSERT INTO corrections ({columns}) VALUES {row}"))  # noqa: S608 - made here
    with closing(kept.journal.reader()) as reader:
        every = corrections_between(reader, NOW, NOW + DAY, None)
        own = corrections_between(reader, NOW, NOW + DAY, "telegram")
    assert (every.total, every.cost) == (2, 0.25)
    assert [(each.source, each.requests, each.cost) for each in every.items] == [
        ("discord", 3, -0.25),
        ("telegram", 2, 0.5),
    ]
    assert (own.total, own.cost) == (1, 0.5)


# Budgets ------------------------------------------------------------------------------------------------------
def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_budgets_tell_their_last_period_and_how_often_they_were_exceeded(kept: Stand) -> None:
    monday = MIDNIGHT - 3 * DAY
    spent = [(monday, 1.5), (monday + DAY, 0.4), (monday + 2 * DAY, 1.0), (MIDNIGHT, 0.9)]
    for place, (when, cost) in enumerate(spent):
        await kept.journal.store(REQUESTS, [request(f"r{place}", received_at=when + 60, cost=cost)])
    book = BudgetBook(Budgets(BUDGETS, "UTC"), kept.series)
    daily, weekly, telegram = book.lines(moment(monday), moment(MIDNIGHT + 7_200), None)
    assert (daily.spent, daily.periods, daily.exceeded, daily.state) == (0.9, 4, 2, "warning")
    assert daily.start == moment(MIDNIGHT)
    assert weekly.spent == pytest.approx(3.8)
    assert (weekly.periods, weekly.exceeded) == (1, 0)
    assert (telegram.periods, telegram.exceeded, telegram.state) == (0, 0, "exceeded"), "the month began before"
    assert telegram.used == pytest.approx(1.9)

    (yesterday, *_) = book.lines(moment(MIDNIGHT - DAY), moment(MIDNIGHT), None)
    assert (yesterday.spent, yesterday.periods, yesterday.exceeded) == (1.0, 1, 1)


async def test_of_one_source_there_are_its_own_budgets(kept: Stand) -> None:
    book = BudgetBook(Budgets(BUDGETS, "UTC"), kept.series)
    assert [line.name for line in book.lines(moment(NOW), moment(NOW + 60), "telegram")] == ["telegram"]
    assert book.lines(moment(NOW), moment(NOW + 60), "discord") == []


async def test_requests_without_a_price_leave_the_state_unknown(kept: Stand) -> None:
    await kept.journal.store(REQUESTS, [request("r1", received_at=NOW, cost=None, cost_source="unknown")])
    book = BudgetBook(Budgets(BUDGETS, "UTC"), kept.series)
    assert book.lines(moment(MIDNIGHT), moment(NOW + 60), None)[0].state == "unknown"
