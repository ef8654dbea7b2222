"""Who writes in the recorded streams: how many users lately, and which of them most today.

Bounded whatever strangers call themselves. Of each stream the users of the last `tap.active_seconds` are counted
one by one, up to a cap (ACTIVE users over all streams); past it the figure stays at the cap. Messages of the day
are counted by a frequent-items sketch: exact for up to TRACKED users, past it off by less than 1/400 of the sum. A
day begins at midnight of the configured time zone.

Everything here lives on the event loop. After a start the day's rows are read once more, the newest RESTORED_ROWS
of them, and until that is done no figure is shown.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from datasketches import (  # type: ignore[import-untyped]  # ships no types
    frequent_items_error_type,
    frequent_strings_sketch,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleetpulse import catalogue
from fleetpulse.config.tap import Tap
from fleetpulse.instruments import Instruments
from fleetpulse.journal import MESSAGES, Journal, MessageRow, Row, Table
from fleetpulse.journal.talkers import Talker, read_talkers
from fleetpulse.users import LG_ENTRIES

ACTIVE = 100_000
ACTIVE_OF_STREAM = 20_000
RESTORED_ROWS = 5_000_000
CHUNK_ROWS = 10_000
log = logging.getLogger(__name__)


class Active:
    """Users by when they last wrote, the newest `most` of them."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._last: OrderedDict[str, float] = OrderedDict()  # the one silent longest first

    def heard(self, user: str, moment: float) -> None:
        """A user wrote, just now."""
        self._last[user] = moment
        self._last.move_to_end(user)
        if len(self._last) > self._most:
            self._last.popitem(last=False)

    def recall(self, user: str, moment: float) -> None:
        """A user wrote once, before all that was heard of and recalled so far."""
        if user not in self._last and len(self._last) < self._most:
            self._last[user] = moment
            self._last.move_to_end(user, last=False)

    def count(self, now: float) -> int:
        """How many wrote lately; forgets the others."""
        while self._last and next(iter(self._last.values())) < now - self._seconds:
            self._last.popitem(last=False)
        return len(self._last)


class Stream:
    """The users of one stream."""

    def __init__(self, active: Active) -> None:
        self.active = active
        self.today = frequent_strings_sketch(LG_ENTRIES)

    def top(self, most: int) -> list[tuple[str, int]]:
        """Who wrote most today, with their messages."""
        found = self.today.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        return [(user, estimate) for user, estimate, _, _ in found[:most]]


class StreamUsers(Collector):
    """The users of all configured streams, as gauges."""

    def __init__(
        self, tap: Tap, timezone: str, instruments: Instruments, clock: Callable[[], float] = time.time
    ) -> None:
        most = min(ACTIVE_OF_STREAM, ACTIVE // max(1, len(tap.streams)))
        self._top = tap.top_users
        self._seconds = tap.active_seconds
        self._streams = {each.name: Stream(Active(tap.active_seconds, most)) for each in tap.streams}
        self._zone = ZoneInfo(timezone)
        self._clock = clock
        self._day = (0.0, 0.0)
        self._complete = not self._streams
        instruments.registry.register(self)

    def stored(self, table: Table, rows: Sequence[Row]) -> None:
        """Hears of the rows that a commit has just made durable."""
        if table is not MESSAGES or not self._streams:
            return
        self._turn()
        for row in rows:
            if isinstance(row, MessageRow) and row.user_id and row.connection is not None:
                self._heard(row.stream, row.user_id, row.received_at)

    async def restore(self, journal: Journal, last: int) -> None:
        """Counts the day's rows, up to and with the one of this id; later ones are heard of by `stored`."""
        if self._complete:
            return
        try:
            await self._read(journal, last)
        except Exception:  # storage, most likely; the exporter goes on without these figures' past
            log.exception("the users of the day's streams are not known")
        self._complete = True

    async def _read(self, journal: Journal, last: int) -> None:
        """Goes back chunk by chunk, so that neither the loop nor the journal waits."""
        self._turn()
        day = self._day[0]
        since = min(day, self._clock() - self._seconds)
        for end in range(last, max(0, last - RESTORED_ROWS), -CHUNK_ROWS):
            talkers = await asyncio.to_thread(_chunk, journal, end, since, day)
            if talkers is None:
                return
            for talker in reversed(talkers):
                self._recall(talker)

    def describe(self) -> Iterable[Metric]:
        """The families, without samples."""
        return _families()

    def collect(self) -> Iterator[Metric]:
        """What Prometheus sees."""
        if not self._complete:
            return
        self._turn()
        now = self._clock()
        active, top = _families()
        for name, stream in self._streams.items():
            active.add_metric([name], stream.active.count(now))
            for user, messages in stream.top(self._top) if self._top else ():
                top.add_metric([name, user], messages)
        yield from (active, top)

    def _heard(self, name: str, user: str, moment: float) -> None:
        stream = self._streams.get(name)
        if stream is None:
            return
        stream.active.heard(user, moment)
        if moment >= self._day[0]:
            stream.today.update(user)

    def _recall(self, talker: Talker) -> None:
        stream = self._streams.get(talker.stream)
        if stream is None:
            return
        if talker.last >= self._clock() - self._seconds:
            stream.active.recall(talker.user_id, talker.last)
        if talker.first >= self._day[0]:
            stream.today.update(talker.user_id, talker.messages)

    def _turn(self) -> None:
        """Begins anew where the day has turned, either way: clocks are set."""
        now = self._clock()
        if self._day[0] <= now < self._day[1]:
            return
        self._day = _day(now, self._zone)
        for stream in self._streams.values():
            stream.today = frequent_strings_sketch(LG_ENTRIES)


def _day(moment: float, zone: ZoneInfo) -> tuple[float, float]:
    """When the day that holds a moment begins and ends, in Unix seconds; it may have 23 or 25 hours."""
    first = datetime.fromtimestamp(moment, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return first.timestamp(), (first + timedelta(days=1)).timestamp()


def _chunk(journal: Journal, end: int, since: float, day: float) -> list[Talker] | None:
    reader = journal.reader()
    try:
        return read_talkers(reader, end - CHUNK_ROWS, end, since, day)
    finally:
        reader.close()


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    metrics = (catalogue.TAP_ACTIVE_USERS, catalogue.TAP_TOP_USERS)
    active, top = (GaugeMetricFamily(each.name, each.help, labels=each.labels) for each in metrics)
    return active, top
