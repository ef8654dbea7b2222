"""Distinct and heavy users: against counting them one by one, and across a restart."""

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.journal.stand import NOW, at_work, request, requests

from fleetpulse import catalogue
from fleetpulse.instruments import Instruments
from fleetpulse.journal import ALERTS, REQUESTS, RequestRow
from fleetpulse.users import DAY_SLOTS, FRESH_SECONDS, HOUR_SECONDS, TRACKED, Users

HOUR, DAY = (("window", "hour"),), (("window", "day"),)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def figures(users: Users, metric: catalogue.Metric) -> dict[tuple[tuple[str, str], ...], float]:
    """A metric's samples by their labels."""
    (family,) = [family for family in users.collect() if family.name == metric.name]
    return {tuple(sample.labels.items()): sample.value for sample in family.samples}


def named(users: Users, metric: catalogue.Metric) -> dict[str, float]:
    """The values by user."""
    return {labels[0][1]: value for labels, value in figures(users, metric).items()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def users(clock: Clock, tmp_path: Path) -> Users:
    users = Users(3, Instruments(), clock)
    async with at_work(tmp_path / "journal.db") as stand:
        await users.restore(stand.journal, 0)
    return users


def test_the_heaviest_are_named_and_exact(users: Users) -> None:
    rng = random.Random(7)
    rows = [
        request(f"r{n}", user_id=f"用户-{int(rng.paretovariate(0.8))}", cost=rng.random() / 100)
        for n in range(3_000)
    ]
    counted = Counter(row.user_id for row in rows)
    cost = {user: sum(row.cost or 0.0 for row in rows if row.user_id == user) for user in counted}
    dearest = dict(sorted(cost.items(), key=lambda item: -item[1])[:3])
    assert len(counted) < TRACKED
    users.stored(REQUESTS, rows)
    assert named(users, catalogue.TOP_USER_REQUESTS) == dict(counted.most_common(3))
    assert named(users, catalogue.TOP_USER_COST) == pytest.approx(dearest, abs=1e-5)


def test_the_heaviest_are_found_among_more_users_than_are_tracked(users: Users) -> None:
    heavy = requests(range(600), user_id="whale") + requests(range(600, 1_000), user_id="shark")
    light = [request(f"l{n}", user_id=f"u{n}") for n in range(20 * TRACKED)]
    rows = heavy + light
    random.Random(3).shuffle(rows)
    users.stored(REQUESTS, rows)
    first, second, _ = named(users, catalogue.TOP_USER_REQUESTS).items()
    assert (first[0], second[0]) == ("whale", "shark")
    assert first[1] == pytest.approx(600, abs=len(rows) / 400)
    assert figures(users, catalogue.ACTIVE_USERS)[HOUR] == pytest.approx(20 * TRACKED, rel=0.05)


def test_users_leave_the_windows_as_time_goes_by(users: Users, clock: Clock) -> None:
    users.stored(REQUESTS, [request("a", user_id="early", received_at=clock.now)])
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 1, DAY: 1}
    clock.now += 2 * HOUR_SECONDS
    users.stored(REQUESTS, [request("b", user_id="late", received_at=clock.now)])
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 1, DAY: 2}
    clock.now += (DAY_SLOTS - 1) * HOUR_SECONDS
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 0, DAY: 1}
    assert named(users, catalogue.TOP_USER_REQUESTS) == {"late": 1}
    clock.now += 3 * HOUR_SECONDS
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 0, DAY: 0}
    assert named(users, catalogue.TOP_USER_COST) == {}


def test_nobody_is_counted_who_has_no_name(users: Users) -> None:
    users.stored(REQUESTS, [request("a", user_id="")])
    users.stored(ALERTS, [])
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 0, DAY: 0}


def test_figures_are_merged_again_only_after_a_while(users: Users, clock: Clock) -> None:
    assert figures(users, catalogue.ACTIVE_USERS)[HOUR] == 0
    users.stored(REQUESTS, [request("a")])
    assert figures(users, catalogue.ACTIVE_USERS)[HOUR] == 0
    clock.now += FRESH_SECONDS
    assert figures(users, catalogue.ACTIVE_USERS)[HOUR] == 1


async def test_nobody_is_named_where_that_is_turned_off(clock: Clock, tmp_path: Path) -> None:
    users = Users(0, Instruments(), clock)
    async with at_work(tmp_path / "journal.db") as stand:
        await users.restore(stand.journal, 0)
    users.stored(REQUESTS, [request("a")])
    assert named(users, catalogue.TOP_USER_COST) == {}
    assert figures(users, catalogue.ACTIVE_USERS) == {HOUR: 1, DAY: 1}


async def test_a_restart_changes_no_figure(clock: Clock, tmp_path: Path) -> None:
    def row(number: int) -> RequestRow:
        received = clock.now - number * 20.0  # 5,000 rows: 28 hours back
        return request(f"r{number}", user_id=f"u{number % 97}", cost=0.01 * (number % 97), received_at=received)

    rows = [row(number) for number in reversed(range(5_000))]
    async with at_work(tmp_path / "two.db") as stand:
        await stand.journal.store(REQUESTS, rows)
        again = Users(3, Instruments(), clock)
        last = stand.journal.newest_id(REQUESTS)
        later = request("later", user_id="later", received_at=clock.now)
        await stand.journal.store(REQUESTS, [later])
        again.stored(REQUESTS, [later])
        await again.restore(stand.journal, last)
    young = [row for row in rows if row.received_at >= clock.now - DAY_SLOTS * HOUR_SECONDS]
    assert figures(again, catalogue.ACTIVE_USERS)[DAY] == pytest.approx(98, abs=3)
    expected = Counter(row.user_id for row in young)
    shown = named(again, catalogue.TOP_USER_REQUESTS)
    assert shown == {user: expected[user] for user in shown}
    assert sorted(shown.values()) == sorted(count for _, count in expected.most_common(3))


async def test_nothing_is_shown_before_the_last_day_is_counted(clock: Clock) -> None:
    assert list(Users(3, Instruments(), clock).collect()) == []
