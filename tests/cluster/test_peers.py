from typing import Any, cast

import pytest
from tests.cluster.line import Line
from tests.journal.stand import shown

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import BYE, HERE, MAX_NAME, MAX_PEERS, MAX_TABLES, Peer, Peers
from fleetpulse.config import Cluster


class Stand:
    """Peers, what they told, and a clock."""

    def __init__(self) -> None:
        self.line = Line("here")
        self.time = 0.0
        self.told: list[tuple[str, str]] = []
        settings = Cluster(gone_seconds=10)
        bus = cast("RedisBus", self.line)
        self.peers = Peers(bus, "mine", lambda: {"requests": 7}, settings, self.line.instruments, lambda: self.time)
        self.peers.watch(self)

    def joined(self, peer: Peer) -> None:
        self.told.append(("joined", peer.run_id))

    def announced(self, peer: Peer) -> None:
        self.told.append(("announced", peer.run_id))

    def left(self, peer: Peer) -> None:
        self.told.append(("left", peer.run_id))

    def hear(self, run: str, epoch: str, **more: Any) -> None:
        self.line.hand(HERE, {"run": run, "epoch": epoch, "replica": f"r-{epoch}", "tops": {}} | more)

    @property
    def count(self) -> float:
        return shown(self.line.instruments, "fleetpulse_cluster_replicas")


def test_who_announces_itself_joins_and_is_answered_at_once() -> None:
    stand = Stand()
    stand.hear("r1", "e1", tops={"requests": 3})
    stand.hear("r1", "e1", tops={"requests": 5})
    assert stand.told == [("joined", "r1"), ("announced", "r1"), ("announced", "r1")]
    (answer,) = stand.line.take(HERE)
    here = {"run": stand.line.run_id, "replica": "here", "epoch": "mine", "tops": {"requests": 7}}
    assert answer.payload == here
    found = stand.peers.of_epoch("e1")
    assert found is not None
    assert found.tops == {"requests": 5}
    assert stand.count == 1


def test_who_falls_silent_or_says_goodbye_is_gone_and_may_come_back() -> None:
    stand = Stand()
    stand.hear("r1", "e1")
    stand.hear("r2", "e2")
    stand.time = 9
    stand.hear("r2", "e2")
    stand.time = 11
    stand.peers.expire()
    stand.line.hand(BYE, {"run": "r2"})
    stand.line.hand(BYE, {"run": "unknown"})
    assert [told for told in stand.told if told[0] == "left"] == [("left", "r1"), ("left", "r2")]
    assert stand.count == 0
    stand.hear("r1", "e1")
    assert stand.told[-2:] == [("joined", "r1"), ("announced", "r1")]


def test_a_replica_that_starts_again_takes_its_own_place_and_its_former_run_is_not_heard() -> None:
    stand = Stand()
    stand.hear("r1", "e1")
    stand.hear("r2", "e1")
    stand.hear("r1", "e1")  # a frame that was late
    assert stand.told == [("joined", "r1"), ("announced", "r1"), ("joined", "r2"), ("announced", "r2")]
    assert [peer.run_id for peer in stand.peers.all()] == ["r2"]


def test_a_copy_of_this_journal_is_not_listened_to_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand = Stand()
    for _ in range(3):
        stand.hear("r1", "mine")
    assert stand.told == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "replica r-mine has a copy of another's data folder; give each one of its own"
    ]


def test_replicas_and_what_they_announce_are_bounded() -> None:
    stand = Stand()
    for number in range(MAX_PEERS + 10):
        stand.hear(f"r{number}", f"e{number}", tops={f"t{each}": 1 for each in range(MAX_TABLES * 2)})
    assert stand.count == MAX_PEERS
    assert all(len(peer.tops) == MAX_TABLES for peer in stand.peers.all())
    for number in range(MAX_PEERS * 3):  # one that starts again and again
        stand.hear(f"again{number}", "e0")
    assert stand.count == MAX_PEERS


def test_redis_that_comes_back_is_told_who_is_here() -> None:
    stand = Stand()
    stand.line.redis(connected=False)
    assert stand.line.take() == []
    stand.line.redis(connected=True)
    assert [frame.channel for frame in stand.line.take()] == [HERE]
    assert [frame.payload for frame in stand.line.words] == [{"run": stand.line.run_id}]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        {"run": 7},
        {"run": "x" * (MAX_NAME + 1)},
        {"epoch": None},
        {"epoch": ""},
        {"replica": {"a": 1}},
        {"tops": []},
        {"tops": {"requests": -1}},
        {"tops": {"requests": 2**63}},
        {"tops": {"requests": "5"}},
    ],
)
def test_what_is_no_announcement_changes_nothing(broken: Any) -> None:
    stand = Stand()
    good = {"run": "r", "epoch": "e", "replica": "r", "tops": {}}
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        stand.line.hand(HERE, good | broken if broken else broken)
    assert (stand.told, stand.count) == ([], 0)
