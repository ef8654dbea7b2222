"""Budgets' periods in time zones whose clocks change, and what a budget that is new begins with."""

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.journal.stand import NOW, Run, Stand, at_work, request

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, Usage, labels, state
from fleetpulse.config import Budget, Limits
from fleetpulse.errors import StorageFullError
from fleetpulse.journal import REQUESTS, Key, Scope, Spent, spent_since
from fleetpulse.journal.rows import insert_new
from fleetpulse.journal.schema import open_writer
from fleetpulse.spending import Forecasts, settle_budgets

DAY = Budget(name="d", limit_usd=1.0)
WEEK = Budget(name="w", limit_usd=1.0, period="week")
MONTH = Budget(name="m", limit_usd=1.0, period="month")
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Shanghai",
    "America/Havana",
    "Asia/Beirut",
    "Asia/Kolkata",
]


def at(moment: str | float) -> float:
    return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment


def start(zone: str, budget: Budget, moment: str | float) -> str:
    return Budgets([DAY, WEEK, MONTH], zone).period_start(budget, at(moment)).isoformat()


@pytest.mark.parametrize(
    ("zone", "moment", "midnight"),
    [
        ("UTC", "2025-10-09T23:59:59Z", "2025-10-09T00:00:00+00:00"),
        ("Asia/Shanghai", "2025-10-09T15:59:59Z", "2025-10-09T00:00:00+08:00"),
        ("Asia/Shanghai", "2025-10-09T16:00:00Z", "2025-10-10T00:00:00+08:00"),
        ("UTC", 2_051_222_399.9999998, "2034-12-31T00:00:00+00:00"),  # datetime rounds this to the next day
        # Berlin: 23 hours on 30 March 2025, 25 on 26 October.
        ("Europe/Berlin", "2025-03-29T23:00:00Z", "2025-03-30T00:00:00+01:00"),
        ("Europe/Berlin", "2025-03-30T21:59:59Z", "2025-03-30T00:00:00+01:00"),
        ("Europe/Berlin", "2025-03-30T22:00:00Z", "2025-03-31T00:00:00+02:00"),
        ("Europe/Berlin", "2025-10-25T22:00:00Z", "2025-10-26T00:00:00+02:00"),
        ("Europe/Berlin", "2025-10-26T22:59:59Z", "2025-10-26T00:00:00+02:00"),
        ("Europe/Berlin", "2025-10-26T23:00:00Z", "2025-10-27T00:00:00+01:00"),
        # New York: 9 March and 2 November 2025.
        ("America/New_York", "2025-03-10T03:59:59Z", "2025-03-09T00:00:00-05:00"),
        ("America/New_York", "2025-03-10T04:00:00Z", "2025-03-10T00:00:00-04:00"),
        ("America/New_York", "2025-11-03T04:59:59Z", "2025-11-02T00:00:00-04:00"),
        ("America/New_York", "2025-11-03T05:00:00Z", "2025-11-03T00:00:00-05:00"),
        # Havana: midnight comes twice on 2 November 2025, and not at all on 9 March.
        ("America/Havana", "2025-11-02T04:30:00Z", "2025-11-02T00:00:00-04:00"),
        ("America/Havana", "2025-11-02T05:30:00Z", "2025-11-02T00:00:00-04:00"),
        ("America/Havana", "2025-11-02T15:00:00Z", "2025-11-02T00:00:00-04:00"),
        ("America/Havana", "2025-03-09T05:00:00Z", "2025-03-09T00:00:00-05:00"),
        ("America/Havana", "2025-03-09T04:59:59Z", "2025-03-08T00:00:00-05:00"),
    ],
)
def test_a_day_begins_at_local_midnight(zone: str, moment: str | float, midnight: str) -> None:
    assert start(zone, DAY, moment) == midnight


@pytest.mark.parametrize(
    ("zone", "moment", "monday"),
    [
        ("UTC", "2025-10-06T00:00:00Z", "2025-10-06T00:00:00+00:00"),
        ("UTC", "2025-10-12T23:59:59Z", "2025-10-06T00:00:00+00:00"),
        ("UTC", "2026-01-01T12:00:00Z", "2025-12-29T00:00:00+00:00"),
        ("Asia/Shanghai", "2025-10-05T16:00:00Z", "2025-10-06T00:00:00+08:00"),
        ("Europe/Berlin", "2025-03-30T12:00:00Z", "2025-03-24T00:00:00+01:00"),
        ("Europe/Berlin", "2025-04-02T12:00:00Z", "2025-03-31T00:00:00+02:00"),
        ("America/New_York", "2025-11-02T12:00:00Z", "2025-10-27T00:00:00-04:00"),
    ],
)
def test_a_week_begins_on_monday(zone: str, moment: str, monday: str) -> None:
    assert start(zone, WEEK, moment) == monday


@pytest.mark.parametrize(
    ("zone", "moment", "first"),
    [
        ("UTC", "2025-02-28T23:59:59Z", "2025-02-01T00:00:00+00:00"),
        ("Asia/Shanghai", "2025-02-28T16:00:00Z", "2025-03-01T00:00:00+08:00"),
        ("Europe/Berlin", "2025-03-31T12:00:00Z", "2025-03-01T00:00:00+01:00"),
        ("Europe/Berlin", "2025-10-31T22:59:59Z", "2025-10-01T00:00:00+02:00"),
        ("America/New_York", "2025-11-30T12:00:00Z", "2025-11-01T00:00:00-04:00"),
    ],
)
def test_a_month_begins_on_the_first(zone: str, moment: str, first: str) -> None:
    assert start(zone, MONTH, moment) == first


moments = st.floats(at("2015-01-01T00:00:00Z"), at("2035-01-01T00:00:00Z"))


@given(st.sampled_from(ZONES), st.sampled_from([DAY, WEEK, MONTH]), moments)
def test_every_moment_of_a_period_names_the_same_start(zone: str, budget: Budget, moment: float) -> None:
    budgets = Budgets([DAY, WEEK, MONTH], zone)
    began = budgets.period_start(budget, moment)
    local = datetime.fromtimestamp(int(moment), ZoneInfo(zone))
    assert began.timestamp() <= moment
    assert (
        moment - began.timestamp() <= {"day": 25, "week": 7 * 24 + 1, "month": 31 * 24 + 1}[budget.period] * 3_600
    )
    assert (
        began.date()
        == {
            "day": local.date(),
            "week": local.date() - timedelta(days=local.weekday()),
            "month": local.date().replace(day=1),
        }[budget.period]
    )
    if began.timestamp() + 60 < moment:  # what a fresh reader of the same period sees
        assert Budgets([budget], zone).period_start(budget, began.timestamp() + 60) == began
        assert Budgets([budget], zone).spend_labels(budget, began.timestamp() + 60) == budgets.spend_labels(
            budget, moment
        )


@given(st.sampled_from(ZONES), st.lists(st.tuples(st.sampled_from([DAY, WEEK, MONTH]), moments), max_size=20))
def test_answers_do_not_depend_on_what_was_asked_before(zone: str, asked: list[tuple[Budget, float]]) -> None:
    budgets = Budgets([DAY, WEEK, MONTH], zone)
    for budget, moment in asked:
        for each in (moment, moment + 59, moment - 1):
            assert budgets.period_start(budget, each) == Budgets([budget], zone).period_start(budget, each)


def test_labels_say_what_a_budget_is_of() -> None:
    source = Budget(name="t", limit_usd=1.0, period="month", source="telegram")
    assert labels(source) == ("t", "source", "telegram", "month")
    assert labels(Budget(name="g", limit_usd=1.0, model="gpt-4o")) == ("g", "model", "gpt-4o", "day")
    assert labels(DAY) == ("d", "total", "", "day")


# Spend --------------------------------------------------------------------------------------------------------
TELEGRAM = Budget(name="telegram", limit_usd=5.0, source="telegram")
GPT = Budget(name="gpt", limit_usd=5.0, period="month", model="gpt-4o")
ANNE = Budget(name="anne", limit_usd=5.0, user="anne")
SHOP = Budget(name="shop", limit_usd=5.0, period="week", account="shop")
HOUR = 3_600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def spent(stand: Stand, budget: Budget, now: float = NOW) -> float:
    return stand.series.spent(Budgets([budget], "UTC").spend_labels(budget, now))


def unpriced(stand: Stand, budget: Budget, now: float = NOW) -> int:
    return stand.series.unpriced(Budgets([budget], "UTC").spend_labels(budget, now))


async def settle(stand: Stand, *budgets: Budget, now: float = NOW) -> None:
    await settle_budgets(stand.journal, stand.series, Budgets(budgets, "UTC"), now)


async def store(stand: Stand, request_id: str, cost: float | None, **fields: Any) -> None:
    await stand.journal.store(REQUESTS, [request(request_id, cost=cost, **fields)])


async def test_each_budget_adds_up_its_own(path: Path) -> None:
    async with at_work(path, budgets=[DAY, TELEGRAM, GPT]) as stand:
        await store(stand, "a", 1.0)
        await store(stand, "b", 2.0, source="wechat")
        await store(stand, "c", 4.0, model="claude-sonnet-4-5")
        await store(stand, "d", 8.0, source="wechat", model=None)
        await store(stand, "e", None, cost_source="unknown")
        await store(stand, "a", 100.0)
        assert [spent(stand, each) for each in (DAY, TELEGRAM, GPT)] == [15.0, 5.0, 3.0]


async def test_spend_counts_in_the_period_in_which_a_request_is_received(path: Path) -> None:
    tomorrow = NOW + 24 * HOUR
    async with at_work(path, budgets=[DAY, MONTH, ANNE], clock=lambda: tomorrow) as stand:
        late = request("received before midnight", cost=1.0, timestamp=NOW - 5 * 86_400, user_id="anne")
        early = request("received after it", cost=2.0, received_at=tomorrow, user_id="anne")
        await stand.journal.store(REQUESTS, [late, early])
        for budget in (DAY, ANNE):
            assert (spent(stand, budget, NOW), spent(stand, budget, tomorrow)) == (1.0, 2.0)
        assert spent(stand, MONTH, tomorrow) == 3.0


async def test_users_and_accounts_have_budgets_of_their_own(path: Path) -> None:
    both = Budget(name="anne's other", limit_usd=1.0, period="month", user="anne")
    async with at_work(path, budgets=[DAY, ANNE, SHOP, both]) as stand:
        await store(stand, "a", 1.0, user_id="anne")
        await store(stand, "b", 2.0, user_id="bob", account_id="shop")
        await store(stand, "c", 4.0, user_id="anne", account_id="shop", model=None)
        await store(stand, "d", 8.0, user_id="")
        await store(stand, "e", None, user_id="anne", account_id="shop", cost_source="unknown")
        await store(stand, "f", None, user_id="anne", cost_source=None)
        assert [spent(stand, each) for each in (DAY, ANNE, both, SHOP)] == [15.0, 5.0, 5.0, 6.0]
        assert [unpriced(stand, each) for each in (DAY, ANNE, both, SHOP)] == [1, 1, 1, 1]
    async with at_work(path, budgets=[ANNE]) as stand:
        await settle(stand, ANNE)
        assert (spent(stand, SHOP), unpriced(stand, SHOP)) == (0.0, 0)
    async with at_work(path, budgets=[ANNE, SHOP]) as stand:
        await settle(stand, ANNE, SHOP)
        assert [(spent(stand, each), unpriced(stand, each)) for each in (ANNE, SHOP)] == [(5.0, 1), (6.0, 1)]


@pytest.mark.parametrize("second", ["source", "model", "user", "account"])
def test_a_budget_is_of_one_thing(second: str) -> None:
    first = "user" if second == "source" else "source"
    with pytest.raises(ValidationError, match="not of several"):
        Budget(name="b", limit_usd=1.0, **{first: "x", second: "y"})


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(0.0, 0), "ok"),
        (Usage(7.999, 0), "ok"),
        (Usage(8.0, 0), "warning"),
        (Usage(9.5, 0), "critical"),
        (Usage(10.0, 0), "exceeded"),
        (Usage(0.0, 1), "unknown"),
        (Usage(9.99, 7), "unknown"),
        (Usage(10.0, 1), "exceeded"),
    ],
)
def test_a_state_says_what_is_certain(usage: Usage, expected: str) -> None:
    assert state(Budget(name="b", limit_usd=10.0), usage) == expected


async def test_budgets_look_past_the_cap_on_labels(path: Path) -> None:
    late = Budget(name="late", limit_usd=1.0, source="late")
    async with at_work(path, budgets=[late], limits=Limits(sources=1)) as stand:
        await store(stand, "a", 1.0)
        await store(stand, "b", 2.0, source="late")
        assert stand.series.child(catalogue.COST, ("other", "gpt-4o")).parts[""].value == 2.0
        assert spent(stand, late) == 2.0


async def test_a_new_budget_begins_with_what_was_spent_and_later_commits_add_to_it(path: Path) -> None:
    async with at_work(path, budgets=[DAY]) as stand:
        await store(stand, "yesterday", 100.0, received_at=NOW - 24 * HOUR)
        await store(stand, "morning", 1.0, received_at=NOW - 8 * HOUR)
        await store(stand, "other source", 2.0, received_at=NOW - 7 * HOUR, source="wechat")
        await store(stand, "unpriced", None, received_at=NOW - 6 * HOUR)
        await store(stand, "now", 4.0)
    async with at_work(path, budgets=[DAY, TELEGRAM, GPT]) as stand:
        await settle(stand, DAY, TELEGRAM, GPT)
        assert [spent(stand, each) for each in (DAY, TELEGRAM, GPT)] == [7.0, 5.0, 107.0]
        await store(stand, "later", 8.0)
        assert [spent(stand, each) for each in (DAY, TELEGRAM, GPT)] == [15.0, 13.0, 115.0]
    async with at_work(path, budgets=[DAY, TELEGRAM, GPT]) as stand:
        await settle(stand, DAY, TELEGRAM, GPT)
        assert [spent(stand, each) for each in (DAY, TELEGRAM, GPT)] == [15.0, 13.0, 115.0]


async def test_a_budget_that_was_away_misses_nothing_when_it_is_back(path: Path) -> None:
    async with at_work(path, budgets=[TELEGRAM]) as stand:
        await settle(stand, TELEGRAM)
        await store(stand, "a", 1.0)
    async with at_work(path, budgets=[DAY]) as stand:
        await settle(stand, DAY)
        assert spent(stand, TELEGRAM) == 0
        await store(stand, "b", 2.0)
    async with at_work(path, budgets=[DAY, TELEGRAM]) as stand:
        await settle(stand, DAY, TELEGRAM)
        assert [spent(stand, each) for each in (DAY, TELEGRAM)] == [3.0, 3.0]


async def test_another_limit_is_the_same_budget_and_another_scope_is_not(path: Path) -> None:
    async with at_work(path, budgets=[TELEGRAM]) as stand:
        await store(stand, "a", 1.0)
        await store(stand, "b", 2.0, source="wechat")
    raised = TELEGRAM.model_copy(update={"limit_usd": 50.0})
    moved = TELEGRAM.model_copy(update={"source": "wechat"})
    async with at_work(path, budgets=[raised]) as stand:
        await settle(stand, raised)
        assert spent(stand, raised) == 1.0
    async with at_work(path, budgets=[moved]) as stand:
        await settle(stand, moved)
        assert spent(stand, moved) == 2.0


async def test_nothing_is_written_where_nothing_changed(path: Path) -> None:
    async with at_work(path, budgets=[DAY]) as stand:
        await settle(stand, DAY)
        assert stand.value(catalogue.JOURNAL_COMMITS) == 1
        await settle(stand, DAY)
        await store(stand, "a", 1.0)
        await settle(stand, DAY)
        assert stand.value(catalogue.JOURNAL_COMMITS) == 2


async def test_what_a_new_budget_begins_with_is_kept(path: Path) -> None:
    async with at_work(path, budgets=[]) as stand:
        await store(stand, "a", 1.5)
    async with at_work(path, budgets=[DAY]) as stand:
        await settle(stand, DAY)
    async with at_work(path, budgets=[DAY]) as stand:
        key = Key(catalogue.BUDGET_SPENT.name, Budgets([DAY], "UTC").spend_labels(DAY, NOW))
        assert stand.journal.totals[key].value == 1.5


async def test_a_full_disk_at_the_start_is_told_and_nothing_is_half_done(path: Path) -> None:
    async with at_work(path, budgets=[]) as stand:
        await store(stand, "a", 1.5)
        await stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageFullError):
                await settle(stand, DAY)
            intruder.execute("ROLLBACK")
        assert spent(stand, DAY) == 0
        await settle(stand, DAY)
        assert spent(stand, DAY) == 1.5


people = st.sampled_from(["anne", "bob", ""])
costs = st.lists(
    st.tuples(st.none() | st.integers(1, 9), st.sampled_from(["telegram", "wechat"]), people), max_size=30
)


@given(costs, st.integers(0, 31), st.sets(st.integers(0, 40)))
def test_spend_is_summed_from_the_first_row_of_the_period(
    rows: list[tuple[int | None, str, str]], since: int, gone: set[int]
) -> None:
    kept = [(when, *row) for when, row in enumerate(rows) if when not in gone]
    scopes = [Scope("total", ""), Scope("source", "telegram"), Scope("user", "anne"), Scope("account", "bob")]
    with TemporaryDirectory() as folder, closing(open_writer(Path(folder) / "journal.db", "normal")) as connection:
        for when, cost, source, person in kept:
            row = request(f"r{when}", received_at=float(when), cost=cost, source=source)
            row = row._replace(
                user_id=person, account_id=person or None, cost_source="reported" if cost else "unknown"
            )
            insert_new(connection, REQUESTS, [row])
        wanted = [
            [cost for when, cost, source, person in kept if when >= since and fits(source, person)]
            for fits in (
                lambda *_: True,
                lambda source, _: source == "telegram",
                lambda _, person: person == "anne",
                lambda _, person: person == "bob",
            )
        ]
        expected = [Spent(sum(cost or 0 for cost in costs), costs.count(None)) for costs in wanted]
        assert spent_since(connection, float(since), scopes) == expected


# Forecasts ----------------------------------------------------------------------------------------------------
async def test_a_forecast_is_what_is_spent_and_the_pace_of_late_for_the_rest(path: Path) -> None:
    now = NOW  # 8:53:20 UTC, 8.8889 hours into the day
    budgets = Budgets([DAY, TELEGRAM, MONTH], "UTC")
    async with at_work(path, budgets=budgets.budgets, clock=lambda: now) as stand:
        forecasts = Forecasts(stand.journal, budgets)
        assert await forecasts.forecast(DAY, 0.0, now) is None
        await store(stand, "old", 70.0, received_at=now - 5 * 24 * HOUR)
        await store(stand, "morning", 2.0, received_at=now - 5 * HOUR, source="wechat")
        await store(stand, "now", 1.0, received_at=now)
        forecasts = Forecasts(stand.journal, budgets)
        rest = 24 * HOUR - (now - budgets.period(DAY, now).start.timestamp())
        assert await forecasts.forecast(DAY, 3.0, now) == pytest.approx(3.0 + 3.0 / (6 * HOUR) * rest)
        assert await forecasts.forecast(TELEGRAM, 1.0, now) == pytest.approx(1.0 + 1.0 / (6 * HOUR) * rest)
        rest = budgets.period(MONTH, now).end.timestamp() - now
        assert await forecasts.forecast(MONTH, 73.0, now) == pytest.approx(73.0 + 3.0 / (24 * HOUR) * rest)


async def test_a_pace_is_measured_once_a_minute(path: Path) -> None:
    budgets = Budgets([DAY], "UTC")
    async with at_work(path, budgets=[DAY]) as stand:
        await store(stand, "old", 1.0, received_at=NOW - 2 * HOUR)
        await store(stand, "a", 1.0, received_at=NOW - HOUR / 2)
        forecasts = Forecasts(stand.journal, budgets)
        first = await forecasts.forecast(DAY, 0.0, NOW)
        await store(stand, "b", 1.0)
        assert await forecasts.forecast(DAY, 0.0, NOW) == first
        assert first is not None
        later = await forecasts.forecast(DAY, 0.0, NOW + 61)
        assert later is not None
        assert later > first * 1.9
