"""Statistics of request logs from Prometheus: exact sums over windows, by source, model and status, hour and day.

The exporter's counters never reset, so what came in a window is the difference of two readings of each exporter and
nothing is extrapolated. `tracks` finds the readings, `coverage` says what they cover, and
docs/statistics.md explains both. No sum is ever negative.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fleetpulse.errors import OverloadedError
from fleetpulse.query import coverage
from fleetpulse.query.figures import SUCCESS, Bucket, Covered, Summary, Timeline, Tokens, Totals
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.readings import Asking, Key, Reading
from fleetpulse.query.tracks import follow
from fleetpulse.query.windows import Window, stamps

EVERYTHING = ("source", "model", "status", "kind")
SUMS_ALONE = ("status", "kind")
AT_ONCE = 4
WAITING = 32
DEADLINE_SECONDS = 30.0
Values = Mapping[Key, float]


class _Grown(NamedTuple):
    """What came in each interval between boundaries, and what that covers."""

    edges: list[float]
    intervals: list[dict[Key, float]]
    covered: Covered
    blurred: set[int]


class Statistics:
    """Answers for any window, of `source` alone where it is given; past its cap, a source counts under `other`.

    A window that ends in the future is answered up to now. Every method raises UpstreamError where Prometheus does
    not answer as expected, and OverloadedError where too many ask at once.
    """

    def __init__(self, prometheus: Prometheus, zone: ZoneInfo, clock: Callable[[], float] = time.time) -> None:
        self.zone = zone
        self._prometheus = prometheus
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def now(self) -> datetime:
        """The time, in the configured zone: what `Window.of` and `Window.between` want."""
        return datetime.fromtimestamp(self._clock(), self.zone)

    async def over(self, window: Window, source: str | None = None) -> Summary:
        """The sums over a window."""
        grown = await self._grown([window.start, window.end], Asking(EVERYTHING, source))
        values = grown.intervals[0] if grown.intervals else {}
        return Summary(
            window,
            grown.covered,
            _totals(values.items()),
            _grouped(values, lambda key: key.source),
            _grouped(values, lambda key: key.model),
            _by_status(values),
        )

    async def by_hour(self, window: Window, source: str | None = None) -> Timeline:
        """The sums by hour of the local clock."""
        return await self._timeline(window, window.hours(), source)

    async def by_day(self, window: Window, source: str | None = None) -> Timeline:
        """The sums by local day."""
        return await self._timeline(window, window.days(), source)

    async def _timeline(self, window: Window, edges: Sequence[datetime], source: str | None) -> Timeline:
        grown = await self._grown(edges, Asking(SUMS_ALONE, source))
        zoned = [datetime.fromtimestamp(edge, self.zone) for edge in grown.edges]
        buckets = tuple(
            Bucket(start, end, _totals(values.items()), not {index, index + 1} & grown.blurred)
            for index, ((start, end), values) in enumerate(zip(pairwise(zoned), grown.intervals, strict=True))
        )
        return Timeline(window, grown.covered, buckets)

    async def _grown(self, edges: Sequence[datetime], asking: Asking) -> _Grown:
        now = round(self._clock(), 3)
        past = [edge for edge in stamps(edges) if edge < now]
        over = len(past) == len(edges) or stamps(edges)[-1] == now
        if len(past) < len(edges):
            past.append(now)
        if len(past) < 2:  # noqa: PLR2004 - a window that begins now
            return _Grown([], [], Covered(None, None, complete=False), set())
        if self._waiting >= WAITING:
            raise OverloadedError("too many statistics are asked for at once")
        self._waiting += 1
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._turns:
                return await self._follow(past, asking, over=over)
        except TimeoutError as error:
            raise self._prometheus.failed(f"did not answer everything within {DEADLINE_SECONDS:g} s") from error
        finally:
            self._waiting -= 1

    async def _follow(self, edges: list[float], asking: Asking, *, over: bool) -> _Grown:
        tracks = await follow(self._prometheus, asking, edges)
        absent = await coverage.away(self._prometheus, tracks, edges[-1])
        intervals: list[dict[Key, float]] = [defaultdict(float) for _ in edges[1:]]
        for growth in (growth for track in tracks for growth in track.growths):
            for key, value in _difference(growth.before, growth.after):
                intervals[growth.edge - 1][key] += value
        covered = coverage.covered(tracks, edges, absent, self.zone, over=over)
        return _Grown(edges, intervals, covered, coverage.blurred(tracks, edges, absent))


def _difference(before: Reading, after: Reading) -> Iterable[tuple[Key, float]]:
    """What was added to each series; none falls but by rounding."""
    for key, value in after.values.items():
        grown = value - before.values.get(key, 0.0)
        if grown > 0:
            yield key, grown


def _totals(values: Iterable[tuple[Key, float]]) -> Totals:
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for key, value in values:
        sums[key.part, key.detail] += value
    by_part: dict[str, float] = defaultdict(float)
    for (part, _), value in sums.items():
        by_part[part] += value
    tokens = (round(sums["tokens", kind]) for kind in ("input", "cached", "output", "unattributed"))
    return Totals(
        requests=round(by_part["requests"]),
        failed=round(by_part["requests"] - sums["requests", SUCCESS]),
        seconds=by_part["seconds"],
        tokens=Tokens(*tokens),
        cost=by_part["cost"],
        unpriced=round(by_part["unpriced"]),
        priced_afterwards=round(by_part["priced_afterwards"]),
    )


def _grouped(values: Values, name: Callable[[Key], str]) -> dict[str, Totals]:
    """Sums by name, in order of the names."""
    groups: dict[str, list[tuple[Key, float]]] = defaultdict(list)
    for key, value in values.items():
        groups[name(key)].append((key, value))
    return {group: _totals(groups[group]) for group in sorted(groups)}


def _by_status(values: Values) -> dict[tuple[str, str], int]:
    """Requests by source and status, in order of both."""
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for key, value in values.items():
        if key.part == "requests":
            sums[key.source, key.detail] += value
    return {each: round(sums[each]) for each in sorted(sums)}
