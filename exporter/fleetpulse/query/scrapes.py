"""Finds single scrapes in Prometheus: an exporter's first or last in some time, and where its journal changed.

Exact, however long the time: a coarse query says in which part of it to look, a second one lists the samples there.
"""

from math import ceil

from fleetpulse.query.promql import Prometheus, duration
from fleetpulse.query.readings import (
    JOURNAL,
    RESETS,
    SCRAPE,
    Asking,
    Key,
    Reading,
    Target,
    at_each_time,
    bare,
    beacon,
    journal,
    marked,
    reading_of,
    stored,
)

BINS = 500
TRIED_BINS = 2  # what a bin holds may lie just before the time that is asked about
LEAST, MOST = "least", "most"
MILLISECOND = 0.001


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

    async def last_stored(self, target: Target, low: float, high: float) -> float | None:
        """When a target last showed a journal with requests."""
        return await self._find(stored(target), low, high, newest=True)

    async def first_stored(self, target: Target, low: float, high: float) -> float | None:
        """When a target first showed a journal with requests."""
        return await self._find(stored(target), low, high, newest=False)

    async def turn(self, target: Target, before: Reading, high: float) -> float | None:
        """The first scrape after a reading, up to `high`, of another journal or of one that has lost requests."""
        width, first_end = _bins(before.at, high)
        answer = await self._prometheus.query_range(_turns(target, before, width), first_end, high, width)
        known = before.stored or 0.0
        for end, targets in sorted(at_each_time(answer).items()):
            bin_ = {key.part: value for key, value in targets.get(target, {}).items()}
            mixed = end - width <= before.at  # it holds what was shown before, too
            if mixed or bin_.keys() & {RESETS, JOURNAL} or bin_.get(LEAST, known) < known:
                found = await self._turn_within(target, before, known, (end, width))
                if found is not None:
                    return found
            known = known if mixed else max(known, bin_.get(MOST, known))
        return None

    async def reading(self, target: Target, at: float, since: float | None = None) -> Reading:
        """What a target read at one of its scrapes; with `since`, without the series that began then or later."""
        answer = await self._prometheus.query(self._asking.reading(target, since=since), at)
        values = next(iter(at_each_time(answer).values()), {}).get(target, {})
        return reading_of({Key(SCRAPE): at} | values) or Reading(at)

    async def _find(self, series: str, low: float, high: float, *, newest: bool) -> float | None:
        width, first_end = _bins(low, high)
        coarse = f"count_over_time({series}[{duration(width)}])"
        answer = await self._prometheus.query_range(coarse, first_end, high, width)
        ends = sorted({at for each in answer for at, _ in each.points}, reverse=newest)
        for end in ends[:TRIED_BINS]:
            times = [at for at, _ in await self._samples(series, (end, width)) if low <= at <= high]
            if times:
                return times[-1 if newest else 0]
        return None

    async def _turn_within(
        self, target: Target, before: Reading, known: float, bin_: tuple[float, float]
    ) -> float | None:
        """Looks at each sample of one bin; `known` is how much was stored before it."""
        turns = []
        for at, value in await self._samples(stored(target), bin_):
            if at > before.at:
                turns += [at] if value < known else []
                known = value
        if before.journal is not None:
            samples = await self._samples(journal(target), bin_)
            turns += [at for at, value in samples if at > before.at and value != before.journal]
        return min(turns, default=None)

    async def _samples(self, series: str, bin_: tuple[float, float]) -> list[tuple[float, float]]:
        """The samples of a bin (its end and width) as they were scraped, in order."""
        end, width = bin_
        answer = await self._prometheus.query(f"{series}[{duration(width)}]", end)
        return sorted(point for each in answer for point in each.points)


def _bins(low: float, high: float) -> tuple[float, float]:
    """The width of the bins that a time is cut into for a coarse look, and where the first of them ends."""
    width = max(ceil((high - low) / BINS * 1000) / 1000, 1.0)
    return width, high - (max(ceil((high - low) / width), 1) - 1) * width


def _turns(target: Target, before: Reading, width: float) -> str:
    """What is to be known of each bin to see whether a journal changed within it."""
    bin_ = f"{stored(target)}[{duration(width)}]"
    parts = {
        LEAST: f"min_over_time({bin_})",
        MOST: f"max_over_time({bin_})",
        RESETS: f"resets({bin_}) > 0",
    }
    if before.journal is not None:
        bin_, own = f"{journal(target)}[{duration(width)}]", repr(before.journal)
        parts[JOURNAL] = f"min_over_time({bin_}) != {own} or max_over_time({bin_}) != {own}"
    return " or ".join(marked(part, bare(expression)) for part, expression in parts.items())
