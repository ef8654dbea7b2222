"""The way of an activity: once, counted, in the book and in the journal's state alike, in whatever order."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.accounts.world import START, Clock, World, at_work

from fleetpulse import catalogue
from fleetpulse.signals import Activity

DAY = 86_400.0
COUNTERS = {
    "message_count": catalogue.ACCOUNT_MESSAGES,
    "reply_count": catalogue.ACCOUNT_REPLIES,
    "redpacket_count": catalogue.ACCOUNT_REDPACKETS,
    "error_count": catalogue.ACCOUNT_ERRORS,
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def state(world: World) -> dict[str, dict[str, Any]]:
    """Every account as the book has it."""
    return {account.account_id: account.as_json() for account in world.book.everyone()}


def check_the_books(world: World) -> None:
    """Book, the journal's state and the counters agree."""
    saved = {each.account_id: asdict(each) for each in world.journal.saved_accounts()}
    assert {account.account_id: asdict(account.state) for account in world.book.everyone()} == saved
    for account in world.book.everyone():
        for name, metric in COUNTERS.items():
            assert world.counter(metric, account.account_id) == account.counts()[name]
    system = world.book.system()
    assert system["total_accounts"] == len(saved)
    assert system["total_messages"] == sum(each["messages"] for each in saved.values())
    assert system["online_accounts"] == sum(account.online for account in world.book.everyone())


async def test_an_activity_is_in_counters_state_and_rows(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", count=3, account_name="Anna")
        await world.do("a", "reply", count=2, reply_time=1.5)
        await world.do("a", "reply")
        await world.do("a", "redpacket")
        await world.do("a", "error", text="flood wait")
        check_the_books(world)
        assert state(world)["a"] == {
            "account_id": "a",
            "account_name": "Anna",
            "online": True,
            "message_count": 3,
            "reply_count": 3,
            "redpacket_count": 1,
            "error_count": 1,
            "average_reply_time": 1.5,
            "error_rate": 1 / 8,
            "last_activity": "2023-11-14T22:13:20.000Z",
        }
        assert world.counter(catalogue.ACCOUNT_ACTIVITIES, "a") == 8
        assert world.counter(catalogue.ACCOUNT_REPLY_SECONDS, "a") == 3.0
        assert world.counter(catalogue.ACCOUNT_TIMED_REPLIES, "a") == 2
        histogram = world.store.child(catalogue.ACCOUNT_REPLY_DURATION, ()).lines(openmetrics=False).decode()
        assert 'account_reply_duration_seconds_bucket{le="1.0"} 0.0' in histogram
        assert 'account_reply_duration_seconds_bucket{le="2.0"} 2.0' in histogram
        assert "account_reply_duration_seconds_count 2.0" in histogram


async def test_all_counters_of_an_account_begin_together(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", "status", online=True)
        assert all(world.store.has(metric, ("a",)) for metric in COUNTERS.values())


async def test_what_was_stored_before_changes_nothing(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        first = await world.do("a", activity_id="m-1", count=2)
        before = state(world)
        again = await world.do("a", "error", activity_id="m-1", count=50, online=False)
        assert (first.stored, first.duplicates, again.stored, again.duplicates) == (1, 0, 0, 1)
        assert state(world) == before
        check_the_books(world)


async def test_without_an_id_the_same_is_stored_twice(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a")
        await world.do("a")
        assert state(world)["a"]["message_count"] == 2


async def test_a_restart_restores_all_exactly(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", account_name="Anna")
        await world.do("b", "status", online=False)
        await world.do("b", "reply", reply_time=0.25, online=False)
        before, system, lines = state(world), world.book.system(), world.lines()
    async with at_work(tmp_path, clock) as world:
        assert state(world) == before
        assert world.book.system() == system
        assert sorted(world.lines().splitlines()) == sorted(lines.splitlines())
        await world.do("a")
        assert state(world)["a"]["message_count"] == 2
        check_the_books(world)


KINDS = st.sampled_from(["message", "reply", "redpacket", "error", "status", "joined"])


@st.composite
def activities(draw: st.DrawFn) -> tuple[str, Activity]:
    """Any activity of one of a few accounts, late or early, new or sent before."""
    kind = draw(KINDS)
    fields: dict[str, Any] = {"kind": kind, "count": draw(st.integers(1, 9))}
    if kind == "reply":
        fields["reply_time"] = draw(st.none() | st.integers(0, 80).map(lambda eighths: eighths / 8))
    fields["online"] = draw(st.none() | st.booleans())
    fields["activity_id"] = draw(st.none() | st.sampled_from("123456789"))
    fields["timestamp"] = draw(st.none() | st.integers(-100, 100).map(lambda seconds: START + seconds))
    fields["account_name"] = draw(st.none() | st.sampled_from(["Anna", "Ben"]))
    return draw(st.sampled_from("abc")), Activity(**fields)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(activities(), min_size=1, max_size=6), max_size=8), st.integers(0, 8))
def test_the_book_is_what_the_journal_holds(batches: list[list[tuple[str, Activity]]], restart: int) -> None:
    """After any activities in any order, with a restart in between: the trigger and the book agree."""

    async def live(folder: Path) -> None:
        clock = Clock()
        for part in (batches[:restart], batches[restart:]):
            async with at_work(folder, clock) as world:
                check_the_books(world)
                for batch in part:
                    clock.now += 1.0
                    await world.ledger.store(batch)
                check_the_books(world)

    with TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


async def test_a_late_report_does_not_overrule_a_newer_one(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", "status", online=False)
        await world.do("a", timestamp=START - 60)
        assert not state(world)["a"]["online"]
        assert state(world)["a"]["last_activity"] == "2023-11-14T22:13:20.000Z"
        await world.do("a", timestamp=START + 3_600)
        assert state(world)["a"]["online"]
        assert state(world)["a"]["last_activity"] == "2023-11-14T22:13:20.000Z", "its clock is ahead"


async def test_errors_and_states_alone_do_not_make_an_account_online(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", "error")
        assert not state(world)["a"]["online"]
        await world.do("a", "reply")
        assert state(world)["a"]["online"]


async def test_accounts_past_the_cap_are_counted_as_other(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock, limits={"accounts": 2}) as world:
        for name in ("a", "b", "c", "d", "c"):
            await world.do(name)
        assert world.counter(catalogue.ACCOUNT_MESSAGES, "other") == 3
        assert world.counter(catalogue.ACCOUNT_MESSAGES, "c") == 0
        folded = world.store.child(catalogue.FOLDED_LABELS, ("account_id",)).parts[""].value
        assert folded == 3
        assert state(world)["c"]["message_count"] == 2, "the API is exact all the same"
        assert world.book.system()["total_messages"] == 5
        assert 'fleetpulse_accounts{state="online"} 4.0' in world.lines()
        assert 'account_online{account_id="c"}' not in world.lines()


async def test_a_silent_account_goes_offline_and_is_told(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a")
        assert 'fleetpulse_account_online{account_id="a"} 1.0' in world.lines()
        clock.now += DAY + 1
        world.hub.told.clear()
        await world.ledger.sweep()
        assert world.hub.told == [("update", "a")]
        assert not state(world)["a"]["online"]
        assert 'fleetpulse_account_online{account_id="a"} 0.0' in world.lines()
        await world.do("a")
        assert state(world)["a"]["online"]
        check_the_books(world)


async def test_silence_outlives_a_restart(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a")
    clock.now += DAY + 1
    async with at_work(tmp_path, clock) as world:
        assert not state(world)["a"]["online"]


async def test_who_was_not_heard_for_long_is_forgotten_but_not_what_it_did(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", count=5)
        await world.do("b", "status", online=False)
        clock.now += 30 * DAY + 1
        await world.ledger.sweep()
        await world.ledger.sweep()
        assert state(world) == {}
        assert world.journal.saved_accounts() == []
        assert ("forgotten", "a") in world.hub.told
        assert "account_id" not in world.lines()
        assert world.book.system()["total_messages"] == 5
        assert world.counter(catalogue.ACCOUNT_MESSAGES, "a") == 5
        await world.do("a")
        assert state(world)["a"]["message_count"] == 1, "its state begins anew"
        assert world.counter(catalogue.ACCOUNT_MESSAGES, "a") == 6, "its counters go on"
    async with at_work(tmp_path, clock) as world:
        assert world.book.system()["total_messages"] == 6
        assert list(state(world)) == ["a"]


async def test_who_reports_late_is_offline_and_not_forgotten(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a", timestamp=START - 40 * DAY)
        await world.ledger.sweep()
        assert not state(world)["a"]["online"]
        clock.now += 30 * DAY - 1
        await world.ledger.sweep()
        assert list(state(world)) == ["a"]
        clock.now += 2
        await world.ledger.sweep()
        assert state(world) == {}


async def test_who_is_heard_while_it_is_being_forgotten_stays(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        for _ in range(20):
            await world.do("a")
            clock.now += 30 * DAY + 1
            await world.ledger.sweep()
            await asyncio.gather(world.ledger.sweep(), world.do("a"), world.do("a"))
            saved = world.journal.saved_account("a")
            account = world.book.get("a")
            assert saved is not None
            assert account is not None
            assert asdict(account.state) == asdict(saved)


async def test_new_accounts_past_the_limit_have_no_room(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock, limits={"known_accounts": 2}) as world:
        await world.do("a")
        assert world.ledger.room(["b", "c", "a", "b"]) == [True, False, True, True]


async def test_a_live_feed_that_fails_changes_nothing_for_who_reports(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        world.hub.broken = True
        assert (await world.do("a")).stored == 1
        check_the_books(world)


async def test_every_change_is_told(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.ledger.store([("a", Activity(kind="message")), ("b", Activity(kind="error"))])
        assert world.hub.told == [("update", "a"), ("update", "b")]


async def test_coming_and_going_are_events(tmp_path: Path, clock: Clock) -> None:
    async with at_work(tmp_path, clock) as world:
        await world.do("a")
        await world.do("a")
        await world.do("b", "error")
        await world.do("a", "status", online=False)
        await world.do("a", "reply")
        clock.now += DAY + 1
        await world.ledger.sweep()
        assert world.hub.events == [
            ("account", "account_online", "a", False),
            ("account", "account_offline", "a", False),
            ("account", "account_online", "a", False),
            ("account", "account_offline", "a", True),
        ]
    async with at_work(tmp_path, clock) as world:
        await world.do("b", "error")
        assert world.hub.events == [], "a restart is no event"
