"""Finds single scrapes in Prometheus: an exporter's first or last in some time, and the last of a journal.

Exact, however long the time: a coarse query says in which part of it to look, a second one lists the samples there.
"""

from collections.abc import Callable
from math import ceil

from fleetpulse.query.promql import Prometheus, duration
from fleetpulse.query.readings import (
    SCRAPE,
    Asking,
    Key,
    Reading,
    Target,
    at_each_time,
    beacon,
    journal,
    reading_of,
)

BINS = 500
TRIED_BINS = 2  # what a bin holds may lie just before the time that is asked about
MILLISECOND = 0.001
Wanted = Callable[[float], bool]


class Scrapes:
    """Looks up what an `Asking` asks for, at times (Unix seconds) that no boundary says. Raises UpstreamError."""

    def __init__(self, prometheus: Prometheus, asking: Asking) -> None:
        self._prometheus = prometheus
        self._asking = asking

    async def last(self, target: Target, low: float, high: float) -> float | None:
        """When a target was last scraped in `[low, high]`."""
        return await self._find(beacon(target), low, high, newest=True)

    async def first(self, target: Target, low: float, high: float) -> float | None:
        """When a target was first scraped in `[low, high]`."""
        return await self._find(beacon(target), low, high, newest=False)

    async def first_of_journal(self, target: Target, low: float, high: float) -> float | None:
        """The first scrape in `[low, high]` that showed a journal with requests."""
        return await self._find(journal(target), low, high, newest=False)

    async def last_of_journal(self, target: Target, identity: float, low: float, high: float) -> float | None:
        """The last scrape in `[low, high]` that showed a journal, before it showed another one."""
        series = journal(target)
        other = await self._find(series, low, high, newest=False, unlike=identity)
        return await self._find(series, low, high if other is None else other - MILLISECOND, newest=True)

    async def reading(self, target: Target, at: float, since: float | None = None) -> Reading:
        """What a target read at one of its scrapes; with `since`, without the series that began then or later."""
        answer = await self._prometheus.query(self._asking.reading(target, since=since), at)
        values = next(iter(at_each_time(answer).values()), {}).get(target, {})
        return reading_of({Key(SCRAPE): at} | values) or Reading(at)

    async def _find(
        self, series: str, low: float, high: float, *, newest: bool, unlike: float | None = None
    ) -> float | None:
        """The newest or oldest sample in `[low, high]`, of any value or of one unlike another."""
        width = max(ceil((high - low) / BINS * 1000) / 1000, 1.0)
        bins = max(ceil((high - low) / width), 1)
        answer = await self._prometheus.query_range(
            _coarse(series, width, unlike), high - (bins - 1) * width, high, width
        )
        ends = sorted({at for each in answer for at, _ in each.points}, reverse=newest)
        for end in ends[:TRIED_BINS]:
            samples = await self._prometheus.query(f"{series}[{duration(width)}]", end)
            times = [at for each in samples for at, value in each.points if low <= at <= high and value != unlike]
            if times:
                return max(times) if newest else min(times)
        return None


def _coarse(series: str, width: float, unlike: float | None) -> str:
    """Has a value at the end of each bin that holds a wanted sample."""
    bin_ = f"{series}[{duration(width)}]"
    if unlike is None:
        return f"count_over_time({bin_})"
    return f"min_over_time({bin_}) != {unlike!r} or max_over_time({bin_}) != {unlike!r}"
