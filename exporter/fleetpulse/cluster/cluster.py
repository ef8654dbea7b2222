"""What joins this replica to the others: the parts of the cluster, wired, started and stopped together.

Without `cluster.redis_url` nothing of it is made, and nothing of it costs anything.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import Peer, Peers
from fleetpulse.cluster.receiver import Receiver, Taker
from fleetpulse.cluster.sender import Sender
from fleetpulse.config import Cluster as ClusterSettings
from fleetpulse.events import Events
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, Row, Table

SYSTEM = "system"


class Hearer(Protocol):
    """Hears of rows that are stored; on the loop, must not wait."""

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """A commit has made them durable."""


class Part(Protocol):
    """What works by itself."""

    async def run(self) -> None:
        """Works until cancelled."""


class Cluster:
    """The relay of rows, and who else is there."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        bus: RedisBus,
        settings: ClusterSettings,
        journal: Journal,
        events: Events,
        instruments: Instruments,
        takers: Sequence[Taker],
    ) -> None:
        """`takers` get the rows that the others store."""
        self._bus = bus
        self._events = events
        self.sender = Sender(bus, journal, instruments, lambda: bool(self.peers.all()))
        self.peers = Peers(bus, journal.epoch, self.sender.tops, settings, instruments)
        self.receiver = Receiver(bus, takers, settings.history_rows, instruments, self._run_of)
        self.peers.watch(self.receiver)
        self.peers.watch(self)
        bus.watch(self._redis)
        self._parts: list[Part] = [bus, self.peers, self.receiver]
        self._hearers: list[Hearer] = [self.sender]

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Hears of rows that a commit has made durable; never waits."""
        for hearer in self._hearers:
            hearer.stored(table, rows, first_id)

    async def run(self) -> None:
        """Works until cancelled."""
        work = [part.run() for part in self._parts]
        await asyncio.gather(*work, self.sender.tell(), self.sender.answer())

    def add(self, *parts: Part) -> None:
        """Adds parts that work as long as this does; before `run`."""
        self._parts += parts

    def hear(self, hearer: Hearer) -> None:
        """Adds one who hears of what is stored here."""
        self._hearers.append(hearer)

    # A peers.Watcher -----------------------------------------------------------------------------------------
    def joined(self, peer: Peer) -> None:
        """Tells administrators."""
        self._events.tell(SYSTEM, "replica_joined", subject=peer.replica, detail={"epoch": peer.epoch})

    def announced(self, peer: Peer) -> None:
        """Nothing new."""

    def left(self, peer: Peer) -> None:
        """Tells administrators; while Redis is away it is not the replica that is gone."""
        if self._bus.connection is not None:
            self._events.tell(SYSTEM, "replica_left", subject=peer.replica, detail={"epoch": peer.epoch})

    def _redis(self, *, connected: bool) -> None:
        self._events.tell(SYSTEM, "redis_back" if connected else "redis_lost", subject=self._bus.replica)

    def _run_of(self, epoch: str) -> str | None:
        peer = self.peers.of_epoch(epoch)
        return peer.run_id if peer is not None else None
