"""Rows on their way in: what other replicas stored, in order, each once, from wherever it has to be had.

Of each table of each replica it keeps how far it has come without a hole. Rows past a hole wait, and that replica
is asked for what lies between, a page at a time: the next page is asked for when the last one has come, so
nobody is sent more than it takes. A replica that is met for the first time is followed from a little before where
it is, for clients that come over from it. Nothing of this is kept: after a restart it is asked for again.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from fleetpulse import catalogue
from fleetpulse.cluster.batches import Batch, unpacked
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import Peer
from fleetpulse.cluster.resting import rest
from fleetpulse.cluster.sender import ASK, ROWS
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Numbered, Table
from fleetpulse.journal.rows import KEPT

PACE_SECONDS = 0.02  # between two pages asked of one replica
ANSWER_SECONDS = 3.0
IDLE_SECONDS = 1.0
MAX_STASHED = 64  # batches of one stream that wait for what is missing before them
MAX_ORIGINS = 256  # replicas remembered, also those that are gone


class Taker(Protocol):
    """Takes what came; on the loop, must not wait."""

    def follow(self, table: Table, epoch: str, offset: int, *, old: int = 0) -> None:
        """The next rows to come are those after `offset`; what was missed before it cannot be had.

        Those up to `old` were stored before that replica was met.
        """

    def settle(self, table: Table, epoch: str) -> None:
        """All rows have come that were stored before that replica was met."""

    def publish(self, table: Table, epoch: str, rows: Sequence[Numbered]) -> None:
        """The next rows."""


class _Stream:
    """One table of one replica: everything up to `top` has come, it has come to `known` there.

    What was there when it was met goes up to `old`; 0 once that has come.
    """

    __slots__ = ("known", "old", "stash", "table", "top")

    def __init__(self, table: Table, top: int, old: int) -> None:
        self.table = table
        self.top = self.known = top
        self.old = old
        self.stash: dict[int, Batch] = {}

    @property
    def lag(self) -> int:
        return self.known - self.top


class _Origin:
    """One replica's journal, and what it was asked for last."""

    __slots__ = ("asked", "asked_at", "streams")

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}
        self.asked: _Stream | None = None
        self.asked_at = 0.0


class Receiver:
    """Follows the other replicas; a `peers.Watcher`. Belongs to the event loop's thread."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        bus: RedisBus,
        takers: Sequence[Taker],
        history_rows: int,
        instruments: Instruments,
        run_of: Callable[[str], str | None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`run_of` finds the run that has a journal now; `history_rows` is where to begin before its top."""
        self._bus = bus
        self._takers = takers
        self._history = history_rows
        self._run_of = run_of
        self._timer = timer
        self._origins: dict[str, _Origin] = {}
        self._wake = asyncio.Event()
        self._asked = instruments.counter(catalogue.CLUSTER_REPLAYS, "asked")
        self._lost = {table.name: instruments.counter(catalogue.CLUSTER_LOST_ROWS, table.name) for table in KEPT}
        for table in KEPT:
            gauge = instruments.gauge(catalogue.CLUSTER_RELAY_LAG, table.name)
            gauge.set_function(partial(self._lag, table.name))
        bus.on(ROWS, self._heard)

    # A peers.Watcher -----------------------------------------------------------------------------------------
    def joined(self, peer: Peer) -> None:
        """It may have been asked in its former run, which will not answer."""
        origin = self._origins.get(peer.epoch)
        if origin is not None:
            origin.asked = None

    def announced(self, peer: Peer) -> None:
        """Learns how far a replica is."""
        origin = self._origins.get(peer.epoch) or self._meet(peer.epoch)
        for table in KEPT:
            top = int(peer.tops.get(table.name, 0))
            stream = origin.streams.get(table.name) or self._follow(origin, peer.epoch, table, top)
            stream.known = max(stream.known, top)
        self._wake.set()

    def left(self, peer: Peer) -> None:
        """What is missing has to wait until it is back."""
        origin = self._origins.get(peer.epoch)
        if origin is not None:
            origin.asked = None

    # Asking --------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Asks for what is missing, until cancelled."""
        while True:
            await rest(self._wake, IDLE_SECONDS)
            self.ask()
            await asyncio.sleep(PACE_SECONDS)

    def ask(self) -> None:
        """Asks every replica that has more, and is not being asked already, for the next page."""
        for epoch, origin in self._origins.items():
            self._ask(epoch, origin)

    def _ask(self, epoch: str, origin: _Origin) -> None:
        now = self._timer()
        if origin.asked is not None and now - origin.asked_at < ANSWER_SECONDS:
            return
        run_id = self._run_of(epoch)
        behind = [stream for stream in origin.streams.values() if stream.lag > 0]
        if run_id is None or not behind:
            origin.asked = None
            return
        stream = min(behind, key=lambda each: each.lag)  # the shortest first: chat need not wait for requests
        origin.asked, origin.asked_at = stream, now
        question = {"run": self._bus.run_id, "epoch": epoch, "table": stream.table.name, "after": stream.top}
        self._bus.send_to(run_id, ASK, question)
        self._asked.inc()

    # Taking --------------------------------------------------------------------------------------------------
    def _heard(self, payload: Mapping[str, Any]) -> None:
        batch = unpacked(payload)
        origin = self._origins.get(batch.epoch)
        stream = None if origin is None else origin.streams.get(batch.table.name)
        if origin is None or stream is None:  # it has not announced itself yet
            return
        if payload.get("answer") and origin.asked is stream:
            origin.asked = None
            if batch.upto <= stream.top:  # it has no more, whatever was announced
                stream.known = stream.top
        stream.known = max(stream.known, batch.upto)
        if batch.after > stream.top:
            if len(stream.stash) < MAX_STASHED:
                stream.stash[batch.after] = batch
        else:
            self._take(stream, batch)
            self._take_stashed(stream)
        if stream.lag > 0:
            self._wake.set()

    def _take(self, stream: _Stream, batch: Batch) -> None:
        if batch.upto <= stream.top:
            return
        for rows in _runs([each for each in batch.rows if each.number > stream.top]):
            self._pass_hole(stream, batch, rows[0].number - 1)
            stream.top = rows[-1].number
            for taker in self._takers:
                taker.publish(batch.table, batch.epoch, rows)
        self._pass_hole(stream, batch, batch.upto)
        self._settle(stream, batch.epoch)

    def _pass_hole(self, stream: _Stream, batch: Batch, upto: int) -> None:
        """Goes on to an id; the rows before it that have not come are gone, and listeners are told."""
        if upto > stream.top:
            self._lost[batch.table.name].inc(upto - stream.top)
            for taker in self._takers:
                taker.follow(batch.table, batch.epoch, upto)
            stream.top = upto

    def _settle(self, stream: _Stream, epoch: str) -> None:
        if stream.old and stream.top >= stream.old:
            stream.old = 0
            for taker in self._takers:
                taker.settle(stream.table, epoch)

    def _take_stashed(self, stream: _Stream) -> None:
        """Takes what waited for what has just come; what is overtaken is dropped."""
        for after in sorted(stream.stash):
            if after > stream.top:
                break
            self._take(stream, stream.stash.pop(after))

    # Origins -------------------------------------------------------------------------------------------------
    def _meet(self, epoch: str) -> _Origin:
        if len(self._origins) >= MAX_ORIGINS:
            self._origins.pop(next(iter(self._origins)))
        origin = self._origins[epoch] = _Origin()
        return origin

    def _follow(self, origin: _Origin, epoch: str, table: Table, top: int) -> _Stream:
        stream = origin.streams[table.name] = _Stream(table, max(0, top - self._history), top)
        for taker in self._takers:
            taker.follow(table, epoch, stream.top, old=top)
        self._settle(stream, epoch)
        return stream

    def _lag(self, name: str) -> int:
        streams = (origin.streams.get(name) for origin in self._origins.values())
        return sum(stream.lag for stream in streams if stream is not None)


def _runs(rows: Sequence[Numbered]) -> list[list[Numbered]]:
    """The rows, cut where ids are missing between them."""
    runs: list[list[Numbered]] = []
    for row in rows:
        if runs and row.number == runs[-1][-1].number + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs
