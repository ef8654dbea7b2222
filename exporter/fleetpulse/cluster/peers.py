"""The other replicas: who is there, and how far the journal of each has come.

Each replica announces itself every second, and says goodbye when it stops. Who is silent for `cluster.gone_seconds`
is gone. A replica that starts again has another run and the same epoch: it takes the place of its former self.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from fleetpulse import catalogue
from fleetpulse.cluster.batches import row_id
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.config import Cluster
from fleetpulse.instruments import Instruments

HERE = "cluster.here"
BYE = "cluster.bye"
ANNOUNCE_SECONDS = 1.0
MAX_PEERS = 64
MAX_TABLES = 64
MAX_NAME = 256
log = logging.getLogger(__name__)


@dataclass
class Peer:
    """Another replica. `tops` are the newest ids of its tables, `heard` is the timer's."""

    run_id: str
    replica: str
    epoch: str
    tops: Mapping[str, int] = field(default_factory=dict)
    heard: float = 0.0


class Watcher(Protocol):
    """Hears of other replicas; on the loop, must not wait."""

    def joined(self, peer: Peer) -> None:
        """A replica is there that was not, or that has started anew."""

    def announced(self, peer: Peer) -> None:
        """A replica said how far it is; called after `joined`, too."""

    def left(self, peer: Peer) -> None:
        """A replica said goodbye, or fell silent."""


class Peers:
    """Announces this replica, and knows the others by their runs."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        bus: RedisBus,
        epoch: str,
        tops: Callable[[], Mapping[str, int]],
        settings: Cluster,
        instruments: Instruments,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._epoch = epoch
        self._tops = tops
        self._gone = settings.gone_seconds
        self._timer = timer
        self._peers: dict[str, Peer] = {}
        self._replaced: dict[str, None] = {}
        self._watchers: list[Watcher] = []
        self._warned: set[str] = set()
        instruments.gauge(catalogue.CLUSTER_REPLICAS).set_function(lambda: len(self._peers))
        bus.on(HERE, self._heard)
        bus.on(BYE, lambda payload: self._drop(str(payload["run"])))
        bus.last_words(BYE, {"run": bus.run_id})
        bus.watch(self._reconnected)

    def watch(self, watcher: Watcher) -> None:
        """Adds one who hears of them."""
        self._watchers.append(watcher)

    def all(self) -> list[Peer]:
        """The other replicas."""
        return list(self._peers.values())

    def of_epoch(self, epoch: str) -> Peer | None:
        """The replica that has this journal."""
        return next((peer for peer in self._peers.values() if peer.epoch == epoch), None)

    async def run(self) -> None:
        """Announces and expires, until cancelled."""
        while True:
            self.announce()
            self.expire()
            await asyncio.sleep(ANNOUNCE_SECONDS)

    def announce(self) -> None:
        """Tells the others that this one is here."""
        here = {"run": self._bus.run_id, "replica": self._bus.replica, "epoch": self._epoch}
        self._bus.send(HERE, here | {"tops": dict(self._tops())})

    def expire(self) -> None:
        """Lets go of those that fell silent."""
        before = self._timer() - self._gone
        for peer in self.all():
            if peer.heard < before:
                self._drop(peer.run_id)

    def _reconnected(self, *, connected: bool) -> None:
        if connected:
            self.announce()

    def _heard(self, payload: Mapping[str, Any]) -> None:
        run_id, epoch = _name(payload["run"]), _name(payload["epoch"])
        tops = {_name(table): row_id(top) for table, top in islice(payload["tops"].items(), MAX_TABLES)}
        if epoch == self._epoch or run_id in self._replaced:
            self._warn(run_id, _name(payload["replica"]))
            return
        peer = self._peers.get(run_id) or self._meet(run_id, _name(payload["replica"]), epoch)
        if peer is not None:
            peer.tops, peer.heard = tops, self._timer()
            self._each(lambda watcher: watcher.announced(peer))

    def _meet(self, run_id: str, replica: str, epoch: str) -> Peer | None:
        former = self.of_epoch(epoch)
        if former is not None:
            del self._peers[former.run_id]
            self._replaced[former.run_id] = None
            while len(self._replaced) > MAX_PEERS:
                del self._replaced[next(iter(self._replaced))]
        elif len(self._peers) >= MAX_PEERS:
            return None
        peer = self._peers[run_id] = Peer(run_id, replica, epoch)
        log.info("replica %s is there", replica)
        self.announce()  # it need not wait a second to know this one
        self._each(lambda watcher: watcher.joined(peer))
        return peer

    def _drop(self, run_id: str) -> None:
        peer = self._peers.pop(run_id, None)
        if peer is not None:
            log.info("replica %s is gone", peer.replica)
            self._each(lambda watcher: watcher.left(peer))

    def _warn(self, run_id: str, replica: str) -> None:
        """Two journals of one epoch: their rows cannot be told apart, so the other one is not listened to."""
        if run_id not in self._warned and len(self._warned) < MAX_PEERS:
            self._warned.add(run_id)
            log.error("replica %s has a copy of another's data folder; give each one of its own", replica)

    def _each(self, call: Callable[[Watcher], None]) -> None:
        for watcher in self._watchers:
            try:
                call(watcher)
            except Exception:
                log.exception("one who watches the replicas failed")


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"no name: {str(value)[:100]}")
    return value
