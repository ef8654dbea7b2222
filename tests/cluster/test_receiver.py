from collections.abc import Sequence
from itertools import cycle
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cluster.line import Frame, Line
from tests.journal.stand import request, shown

from fleetpulse.cluster.batches import packed
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import Peer
from fleetpulse.cluster.receiver import ANSWER_SECONDS, MAX_ORIGINS, MAX_STASHED, Receiver
from fleetpulse.cluster.sender import ASK, ROWS
from fleetpulse.journal import REQUESTS, Numbered, Table

PAGE = 7


class Origin:
    """Another replica with one table: tells of rows as `Sender` does, and answers a page at a time."""

    def __init__(self, epoch: str = "e", stored: int = 0) -> None:
        self.epoch = epoch
        self.run_id = f"run-of-{epoch}"
        self.stored = stored
        self.gone = 0  # rows up to here are deleted

    def rows(self, after: int, upto: int) -> list[Numbered]:
        first = max(after, self.gone) + 1
        return [Numbered(number, request(f"{self.epoch}{number}")) for number in range(first, upto + 1)]

    def store(self, count: int) -> list[dict[str, Any]]:
        before, self.stored = self.stored, self.stored + count
        return self.payloads(before, self.stored)

    def payloads(self, after: int, upto: int) -> list[dict[str, Any]]:
        line = Line("any")
        for payload in packed(self.epoch, REQUESTS, after, upto, self.rows(after, upto)):
            line.send(ROWS, payload)
        return [frame.payload for frame in line.sent]

    def peer(self) -> Peer:
        return Peer(self.run_id, self.epoch, self.epoch, {"requests": self.stored})

    def answer(self, question: Any) -> list[dict[str, Any]]:
        rows = self.rows(question["after"], self.stored)[:PAGE]
        upto = rows[-1].number if len(rows) == PAGE else max(self.stored, question["after"])
        payloads = self.payloads(question["after"], upto)
        return [payload | {"answer": payload is payloads[-1]} for payload in payloads]


class Stand:
    """A receiver and what it handed on."""

    def __init__(self, *origins: Origin, history: int = 0) -> None:
        self.line = Line("here")
        self.origins = {origin.epoch: origin for origin in origins}
        self.time = 0.0
        self.taken: dict[str, list[int]] = {}
        self.followed: list[tuple[str, int]] = []
        self.settled: dict[str, tuple[int, int | None]] = {}
        self.receiver = Receiver(
            cast("RedisBus", self.line),
            [self],
            history,
            self.line.instruments,
            lambda epoch: self.origins[epoch].run_id if epoch in self.origins else None,
            lambda: self.time,
        )

    def follow(self, table: Table, epoch: str, offset: int, *, old: int = 0) -> None:
        if table is REQUESTS:
            self.followed.append((epoch, offset))
            self.settled |= {} if old <= offset else {epoch: (old, None)}

    def settle(self, table: Table, epoch: str) -> None:
        """Notes what had come when the old rows were said to be there."""
        if table is REQUESTS and epoch in self.settled:
            old, before = self.settled[epoch]
            assert before is None, "told once"
            self.settled[epoch] = old, (self.taken.get(epoch) or [0])[-1]

    def publish(self, table: Table, epoch: str, rows: Sequence[Numbered]) -> None:
        assert table is REQUESTS
        assert [each.row[0] for each in rows] == [f"{epoch}{each.number}" for each in rows]
        self.taken.setdefault(epoch, []).extend(each.number for each in rows)

    def announce(self) -> None:
        for origin in self.origins.values():
            self.receiver.announced(origin.peer())

    def asked(self) -> list[Frame]:
        self.receiver.ask()
        return self.line.take(ASK)

    def heal(self) -> None:
        """Every question is answered, until there is none."""
        self.announce()
        self.time += ANSWER_SECONDS
        while questions := self.asked():
            for question in questions:
                for payload in self.origins[question.payload["epoch"]].answer(question.payload):
                    self.line.hand(ROWS, payload)

    @property
    def lag(self) -> float:
        return shown(self.line.instruments, "fleetpulse_cluster_relay_lag_rows", "requests")

    @property
    def lost(self) -> float:
        return shown(self.line.instruments, "fleetpulse_cluster_lost_rows_total", "requests")


def test_a_hole_is_asked_for_and_what_came_after_it_waits() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    first, hole, last = origin.store(3), origin.store(2), origin.store(4)
    for payload in (*first, *last):
        stand.line.hand(ROWS, payload)
    assert stand.taken == {"e": [1, 2, 3]}
    assert stand.lag == 6
    (question,) = stand.asked()
    assert question.to == origin.run_id
    assert question.payload == {"run": stand.line.run_id, "epoch": "e", "table": "requests", "after": 3}
    for payload in hole:
        stand.line.hand(ROWS, payload)
    assert stand.taken == {"e": list(range(1, 10))}
    assert (stand.lag, stand.lost) == (0, 0)


def test_one_question_is_open_at_a_time_and_is_asked_again_when_nobody_answers() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.store(3)
    stand.announce()
    assert len(stand.asked()) == 1
    assert stand.asked() == []
    stand.time += ANSWER_SECONDS
    assert len(stand.asked()) == 1
    stand.receiver.left(origin.peer())
    assert len(stand.asked()) == 1, "it is back: what was asked before is forgotten"


def test_duplicates_and_parts_that_overlap_count_once() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.store(20)
    for after, upto in ((0, 10), (0, 10), (5, 15), (3, 4), (12, 20), (0, 20)):
        for payload in origin.payloads(after, upto):
            stand.line.hand(ROWS, payload)
    assert stand.taken == {"e": list(range(1, 21))}


def test_what_is_deleted_there_is_a_gap_and_counted() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.store(20)
    origin.gone = 12
    stand.heal()
    assert stand.taken == {"e": list(range(13, 21))}
    assert stand.followed == [("e", 0), ("e", 12)]
    assert (stand.lag, stand.lost) == (0, 12)


def test_everything_missed_and_deleted_is_a_gap_without_rows() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.store(20)
    origin.gone = 20
    stand.heal()
    assert stand.taken == {}
    assert stand.followed == [("e", 0), ("e", 20)]
    assert (stand.lag, stand.lost) == (0, 20)


def test_more_batches_than_may_wait_are_asked_for_again() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.store(1)
    for _ in range(MAX_STASHED + 50):
        for payload in origin.store(2):
            stand.line.hand(ROWS, payload)
    stand.line.hand(ROWS, origin.payloads(0, 1)[0])
    assert len(stand.taken["e"]) == 1 + 2 * MAX_STASHED
    stand.heal()
    assert stand.taken["e"] == list(range(1, origin.stored + 1))


def test_an_announcement_of_what_is_not_there_is_asked_for_once_and_given_up() -> None:
    stand = Stand(origin := Origin(stored=5), history=5)
    boast = origin.peer()
    boast.tops = {"requests": 10**9}
    stand.receiver.announced(origin.peer())
    stand.receiver.announced(boast)
    asked = 0
    for _ in range(50):
        for question in stand.asked():
            asked += 1
            for payload in origin.answer(question.payload):
                stand.line.hand(ROWS, payload)
    assert asked == 2
    assert stand.taken == {"e": [1, 2, 3, 4, 5]}
    assert stand.lag == 0


def test_replicas_remembered_are_bounded() -> None:
    stand = Stand()
    for number in range(MAX_ORIGINS + 10):
        stand.receiver.announced(Origin(f"e{number}", stored=1).peer())
    assert stand.lag == 0
    assert len(stand.receiver._origins) == MAX_ORIGINS  # noqa: SLF001 - nothing else shows it


GOOD: dict[str, Any] = {"epoch": "e", "table": "requests", "after": 0, "upto": 1, "rows": []}


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        GOOD | {"table": "mailboxes"},
        GOOD | {"table": ["requests"]},
        GOOD | {"after": -1},
        GOOD | {"after": "0"},
        GOOD | {"upto": 2**63},
        GOOD | {"upto": True},
        GOOD | {"after": 2},
        GOOD | {"rows": [[1]]},
        GOOD | {"rows": [[5, *request("r")]]},
        GOOD | {"rows": [[1, *request("r")], [1, *request("r")]]},
        GOOD | {"rows": [[1, {"request_id": []}, *request("r")[1:]]]},
        GOOD | {"rows": [[None]]},
        GOOD | {"rows": 7},
        GOOD | {"rows": [[number, *request("r")] for number in range(1, 1_000)], "upto": 1_000},
    ],
)
def test_what_is_no_batch_changes_nothing(broken: Any) -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        stand.line.hand(ROWS, broken)
    assert (stand.taken, stand.lag) == ({}, 0)
    stand.line.hand(ROWS, origin.store(1)[0])
    assert stand.taken == {"e": [1]}


def test_rows_of_whom_nobody_announced_are_not_taken() -> None:
    stand = Stand()
    stand.line.hand(ROWS, Origin().store(3)[0])
    assert stand.taken == {}


fates = st.lists(st.sampled_from(["arrives", "lost", "twice", "late"]), min_size=1, max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.integers(0, 1), st.integers(1, 30)),
        st.tuples(st.just("announce"), st.just(0), st.just(0)),
        st.tuples(st.just("ask"), st.integers(0, 1), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 1), st.integers(1, 20)),
        st.tuples(st.just("restart"), st.integers(0, 1), st.just(0)),
    ),
    max_size=40,
)


def test_rows_that_are_gone_between_others_are_told_of_where_they_were() -> None:
    stand = Stand(origin := Origin())
    stand.announce()
    origin.stored = 12
    rows = [Numbered(number, request(f"e{number}")) for number in (1, 2, 5, 6, 9)]
    line = Line("any")
    for payload in packed("e", REQUESTS, 0, 12, rows):
        line.send(ROWS, payload)
    stand.followed.clear()
    for frame in line.sent:
        stand.line.hand(ROWS, frame.payload)
    assert stand.taken == {"e": [1, 2, 5, 6, 9]}
    assert stand.followed == [("e", 4), ("e", 8), ("e", 12)]
    assert (stand.lag, stand.lost) == (0, 7)


class Road:
    """The way between two origins and a receiver, on which frames fare as `fates` say, in turn."""

    def __init__(self, stand: Stand, fates: list[str], order: Any) -> None:
        self.stand = stand
        self.fates = cycle(fates)
        self.order = order
        self.late: list[Any] = []

    def fare(self, payloads: list[Any]) -> None:
        for payload in payloads:
            fate = next(self.fates)
            if fate == "late":
                self.late.append(payload)
            for _ in range({"arrives": 1, "twice": 2}.get(fate, 0)):
                self.stand.line.hand(ROWS, payload)
        while self.late and self.order.random() < 0.3:
            self.stand.line.hand(ROWS, self.late.pop(self.order.randrange(len(self.late))))

    def go(self, step: str, origin: Origin, number: int) -> None:
        if step == "store":
            self.fare(origin.store(number))
        elif step == "delete":
            origin.gone = min(origin.stored, origin.gone + number)
        elif step == "announce":
            self.stand.announce()
        elif step == "restart":
            self.stand.receiver.joined(origin.peer())
        else:
            self.stand.time += number
            for question in self.stand.asked():
                self.fare(self.stand.origins[question.payload["epoch"]].answer(question.payload))

    def arrive(self) -> None:
        """What was late is there in the end, in any order."""
        self.order.shuffle(self.late)
        for payload in self.late:
            self.stand.line.hand(ROWS, payload)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, fates=fates, order=st.randoms(use_true_random=False), history=st.sampled_from([0, 3, 100]))
def test_whatever_is_lost_doubled_or_late_it_ends_with_exactly_the_rows(
    steps: list[tuple[str, int, int]], fates: list[str], order: Any, history: int
) -> None:
    origins = Origin("x", stored=10), Origin("y")
    stand = Stand(*origins, history=history)
    begin = {origin.epoch: max(0, origin.stored - history) for origin in origins}
    stand.announce()
    road = Road(stand, fates, order)
    for step, which, number in steps:
        road.go(step, origins[which], number)
    road.arrive()
    stand.heal()
    lost = 0
    for origin in origins:
        taken = stand.taken.get(origin.epoch, [])
        expected = set(range(begin[origin.epoch] + 1, origin.stored + 1))
        assert taken == sorted(set(taken)), "in order, each once"
        assert set(taken) <= expected
        assert all(number <= origin.gone for number in expected - set(taken)), "only what is deleted is missing"
        lost += len(expected - set(taken))
    assert (stand.lag, stand.lost) == (0, lost)
    assert all(reached is not None for _, reached in stand.settled.values()), "the old rows are said to be there"
