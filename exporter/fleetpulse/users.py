"""Who uses the bots: how many distinct users, and which of them most, over the last hour and day.

Nobody's memory grows with the number of users: distinct ones are estimated by HyperLogLog sketches, heavy ones by
frequent-items sketches (Apache DataSketches). Up to TRACKED users the heavy ones are exact; past it the small ones
are forgotten and every figure is off by less than 1/400 of the sum. Each slot of a window has sketches of its own,
which are merged when they are asked for and dropped when they are too old.

Everything here lives on the event loop. After a start the last day's rows are read once more, a few at a time, and
until that is done no figure is shown.

Sources: Flajolet et al., HyperLogLog (2007); Anderson et al., A High-Performance Algorithm for Identifying Frequent
Items in Data Streams (IMC 2017).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from datasketches import (  # type: ignore[import-untyped]  # ships no types
    frequent_items_error_type,
    frequent_strings_sketch,
    hll_sketch,
    hll_union,
    tgt_hll_type,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetpulse import catalogue
from fleetpulse.instruments import Instruments
from fleetpulse.journal import REQUESTS, Journal, RequestRow, Row, Table
from fleetpulse.journal.activity import SLOT_SECONDS, Activity, read_activity

HOUR_SLOTS = 12  # and the one under way: "the last hour" is 60 to 65 minutes
DAY_SLOTS = 24  # of an hour each, and the one under way
HOUR_SECONDS = 3_600
LG_REGISTERS = 12  # 4,096 registers: a standard error of 1.6 %
LG_ENTRIES = 11
TRACKED = 2**LG_ENTRIES * 3 // 4
NANO = 1e9  # sketches weigh in whole numbers
PENDING_USERS = 2_000  # this many are handed to the sketches in one go, which takes some milliseconds
FRESH_SECONDS = 10.0  # how long merged figures serve
RESTORED_ROWS = 5_000_000
CHUNK_ROWS = 2_000
log = logging.getLogger(__name__)

S = TypeVar("S")


class Ring(Generic[S]):
    """Slots of equal length, the newest of them; what is older than the ring is gone."""

    def __init__(self, seconds: int, count: int, make: Callable[[], S]) -> None:
        self._seconds = seconds
        self._count = count
        self._make = make
        self._slots: dict[int, S] = {}

    def at(self, moment: float) -> S:
        """The slot that holds a moment."""
        number = int(moment // self._seconds)
        if number not in self._slots:
            self._slots[number] = self._make()
        return self._slots[number]

    def recent(self, now: float) -> list[S]:
        """The slots of the ring's length before now; forgets older ones."""
        first = int(now // self._seconds) - self._count
        self._slots = {number: slot for number, slot in self._slots.items() if number >= first}
        return list(self._slots.values())


def _hll() -> hll_sketch:
    return hll_sketch(LG_REGISTERS, tgt_hll_type.HLL_8)


def _frequent() -> frequent_strings_sketch:
    return frequent_strings_sketch(LG_ENTRIES)


@dataclass
class Heavy:
    """Requests and cost (in billionths of a USD) by user."""

    requests: frequent_strings_sketch = field(default_factory=_frequent)
    cost: frequent_strings_sketch = field(default_factory=_frequent)

    def add(self, user_id: str, requests: int, cost: float) -> None:
        """Counts a user's requests."""
        self.requests.update(user_id, requests)
        if nano := round(cost * NANO):
            self.cost.update(user_id, nano)

    def merge(self, other: "Heavy") -> None:
        """Adds another slot's counts."""
        self.requests.merge(other.requests)
        self.cost.merge(other.cost)


class Users(Collector):
    """Distinct and heavy users, as gauges; `top` is how many of the heavy ones are named."""

    def __init__(self, top: int, instruments: Instruments, clock: Callable[[], float] = time.time) -> None:
        self._top = top
        self._clock = clock
        self._hour = Ring(SLOT_SECONDS, HOUR_SLOTS, _hll)
        self._day = Ring(HOUR_SECONDS, DAY_SLOTS, _hll)
        self._heavy = Ring(HOUR_SECONDS, DAY_SLOTS, Heavy)
        self._pending: dict[str, tuple[int, float]] = {}
        self._shown: tuple[float, list[Metric]] = (0.0, [])
        self._complete = False
        instruments.registry.register(self)

    def stored(self, table: Table, rows: Sequence[Row]) -> None:
        """Hears of the rows that a commit has just made durable."""
        if table is not REQUESTS:
            return
        for row in rows:
            if isinstance(row, RequestRow) and row.user_id:
                requests, cost = self._pending.get(row.user_id, (0, 0.0))
                self._pending[row.user_id] = (requests + 1, cost + (row.cost or 0.0))
                if len(self._pending) >= PENDING_USERS:
                    self._take_pending()

    async def restore(self, journal: Journal, last: int) -> None:
        """Counts the last day's rows, up to and with the one of this id; later ones are heard of by `stored`."""
        try:
            await self._read(journal, last)
        except Exception:  # storage, most likely; the exporter goes on without these figures' past
            log.exception("the users of the last day are not known")
        self._complete = True

    async def _read(self, journal: Journal, last: int) -> None:
        """Goes back chunk by chunk, so that neither the loop nor the journal waits."""
        since = self._clock() - DAY_SLOTS * HOUR_SECONDS
        for end in range(last, max(0, last - RESTORED_ROWS), -CHUNK_ROWS):
            activity = await asyncio.to_thread(_chunk, journal, end, since)
            if not activity:
                return
            self._count(activity)

    def describe(self) -> Iterable[Metric]:
        """The families, without samples."""
        return _families()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus sees."""
        made, metrics = self._shown
        now = self._clock()
        if self._complete and now >= made + FRESH_SECONDS:
            self._take_pending()
            metrics = self._figures(now)
            self._shown = (now, metrics)
        yield from metrics

    def _take_pending(self) -> None:
        now = self._clock()
        self._count([Activity(now, user, *sums) for user, sums in self._pending.items()])
        self._pending.clear()

    def _count(self, activity: Sequence[Activity]) -> None:
        for moment, user_id, requests, cost in activity:
            if not user_id:
                continue
            self._hour.at(moment).update(user_id)
            self._day.at(moment).update(user_id)
            self._heavy.at(moment).add(user_id, requests, cost)
        self._hour.recent(self._clock())

    def _figures(self, now: float) -> list[Metric]:
        active, requests, cost = _families()
        active.add_metric(["hour"], _distinct(self._hour.recent(now)))
        active.add_metric(["day"], _distinct(self._day.recent(now)))
        merged = Heavy()
        for slot in self._heavy.recent(now):
            merged.merge(slot)
        for user_id, count in self._heaviest(merged.requests):
            requests.add_metric([user_id], count)
        for user_id, nano in self._heaviest(merged.cost):
            cost.add_metric([user_id], nano / NANO)
        return [active, requests, cost]

    def _heaviest(self, sketch: frequent_strings_sketch) -> list[tuple[str, int]]:
        found = sketch.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        return [(user_id, estimate) for user_id, estimate, _, _ in found[: self._top]]


def _chunk(journal: Journal, end: int, since: float) -> list[Activity]:
    reader = journal.reader()
    try:
        return read_activity(reader, end - CHUNK_ROWS, end, since)
    finally:
        reader.close()


def _distinct(sketches: Sequence[hll_sketch]) -> float:
    union = hll_union(LG_REGISTERS)
    for sketch in sketches:
        union.update(sketch)
    return float(round(union.get_estimate()))


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    metrics = (catalogue.ACTIVE_USERS, catalogue.TOP_USER_REQUESTS, catalogue.TOP_USER_COST)
    active, requests, cost = (GaugeMetricFamily(each.name, each.help, labels=each.labels) for each in metrics)
    return active, requests, cost
