"""Users of recorded streams: counted as they write, over midnight and a restart."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.journal.stand import at_work
from tests.tap.frame import NOW

from fleetpulse import catalogue
from fleetpulse.config.tap import Tap
from fleetpulse.instruments import Instruments
from fleetpulse.journal import MESSAGES, MessageRow
from fleetpulse.tap.users import CHUNK_ROWS, Active, StreamUsers

ZONE = "Asia/Shanghai"
MIDNIGHT = datetime(2025, 10, 10, tzinfo=ZoneInfo(ZONE)).timestamp()


def row(number: int, user: str, at: float = NOW, stream: str = "room", connection: str | None = "c") -> MessageRow:
    return MessageRow(f"m{number}", at, None, stream, "message", None, user, "hi", connection=connection)


def tap(**more: Any) -> Tap:
    streams = [{"name": name, "url": "ws://127.0.0.1:1"} for name in ("room", "hall")]
    return Tap.model_validate({"streams": streams, "top_users": 3, "active_seconds": 300} | more)


class Counting:
    """The counts, on a clock that a test sets, of a journal without rows."""

    def __init__(self, **more: Any) -> None:
        self.now = NOW
        self.users = StreamUsers(tap(**more), ZONE, Instruments(), lambda: self.now)

    async def begin(self, path: Path) -> "Counting":
        async with at_work(path / "journal.db") as stand:
            await self.users.restore(stand.journal, stand.journal.newest_id(MESSAGES))
        return self

    def active(self) -> dict[str, float]:
        return {sample["stream"]: value for sample, value in self._samples(catalogue.TAP_ACTIVE_USERS)}

    def top(self, stream: str = "room") -> dict[str, float]:
        samples = self._samples(catalogue.TAP_TOP_USERS)
        return {sample["user_id"]: value for sample, value in samples if sample["stream"] == stream}

    def _samples(self, metric: catalogue.Metric) -> list[tuple[dict[str, str], float]]:
        families = [family for family in self.users.collect() if family.name == metric.name]
        return [(sample.labels, sample.value) for family in families for sample in family.samples]


async def test_users_are_counted_by_stream(tmp_path: Path) -> None:
    counting = await Counting().begin(tmp_path)
    rows = [row(n, user) for n, user in enumerate(["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"])]
    rows += [row(20, "z", stream="hall"), row(21, ""), row(22, "x", stream="gone"), row(23, "own", connection=None)]
    counting.users.stored(MESSAGES, rows)
    assert counting.active() == {"room": 4, "hall": 1}
    assert counting.top() == {"a": 4, "b": 3, "c": 2}
    assert counting.top("hall") == {"z": 1}


async def test_who_is_silent_is_active_no_more(tmp_path: Path) -> None:
    counting = await Counting().begin(tmp_path)
    counting.users.stored(MESSAGES, [row(1, "a"), row(2, "b")])
    counting.now += 200
    counting.users.stored(MESSAGES, [row(3, "a", counting.now)])
    counting.now += 200
    assert counting.active() == {"room": 1, "hall": 0}
    assert counting.top() == {"a": 2, "b": 1}


async def test_a_day_ends_at_midnight_of_the_time_zone(tmp_path: Path) -> None:
    counting = await Counting().begin(tmp_path)
    counting.now = MIDNIGHT - 1
    counting.users.stored(MESSAGES, [row(1, "a", MIDNIGHT - 1)])
    assert counting.top() == {"a": 1}
    counting.now = MIDNIGHT
    assert counting.top() == {}
    counting.users.stored(MESSAGES, [row(2, "late", MIDNIGHT - 0.1), row(3, "b", MIDNIGHT)])
    assert counting.top() == {"b": 1}
    assert counting.active() == {"room": 3, "hall": 0}


async def test_nobody_is_named_where_nobody_shall_be(tmp_path: Path) -> None:
    counting = await Counting(top_users=0).begin(tmp_path)
    counting.users.stored(MESSAGES, [row(1, "a")])
    assert counting.top() == {}
    assert counting.active()["room"] == 1


async def test_after_a_restart_the_figures_are_the_same(tmp_path: Path) -> None:
    before = Counting()
    before.now = MIDNIGHT + 100
    often = "".join(user * (7 - rank) for rank, user in enumerate("abcdefg"))
    step = 300 / (2 * CHUNK_ROWS)
    rows = [row(n, often[n % len(often)], MIDNIGHT - 200 + n * step) for n in range(2 * CHUNK_ROWS)]
    rows[5000:5000] = [row(100_000 + n, "own", MIDNIGHT, connection=None) for n in range(10)]
    async with at_work(tmp_path / "journal.db") as stand:
        await before.users.restore(stand.journal, 0)
        assert stand.journal.newest_id(MESSAGES) == 0
        await stand.journal.store(MESSAGES, rows)
        before.users.stored(MESSAGES, rows)
    after = Counting()
    after.now = before.now
    assert after.active() == {}  # nothing is shown before all is known
    await after.begin(tmp_path)
    today = Counter(each.user_id for each in rows if each.connection and each.received_at >= MIDNIGHT)
    assert after.top() == before.top() == dict(today.most_common(3))
    assert after.active() == before.active() == {"room": 7, "hall": 0}


async def test_what_is_stored_while_the_past_is_read_counts_once(tmp_path: Path) -> None:
    counting = Counting()
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, [row(1, "a"), row(2, "b", NOW - 200)])
        known = stand.journal.newest_id(MESSAGES)
        later = [row(3, "a"), row(4, "c")]
        await stand.journal.store(MESSAGES, later)
        counting.users.stored(MESSAGES, later)
        await counting.users.restore(stand.journal, known)
    assert counting.top() == {"a": 2, "b": 1, "c": 1}
    counting.now += 150
    assert counting.active()["room"] == 2


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_active_users_are_exact_below_the_cap_and_the_cap_above_it(steps: list[tuple[int, int]]) -> None:
    active, last, now = Active(100.0, 8), dict[str, float](), 0.0
    for user, seconds in steps:
        now += seconds
        active.heard(f"u{user}", now)
        last[f"u{user}"] = now
        lately = sum(each >= now - 100 for each in last.values())
        assert active.count(now) == min(lately, 8)


@pytest.mark.parametrize("streams", [0, 200])
def test_any_number_of_streams_is_fine(streams: int) -> None:
    names = [{"name": f"s{n}", "url": "ws://127.0.0.1:1"} for n in range(streams)]
    users = StreamUsers(Tap.model_validate({"streams": names}), "UTC", Instruments(), lambda: NOW)
    users.stored(MESSAGES, [row(n, f"u{n}", stream="s0") for n in range(1_000)])
    assert len(list(users.describe())) == 2
