"""How an exporter's counters grew from boundary to boundary: its readings, whatever happened between them.

`follow` gives a `Track` for each exporter that Prometheus has seen, and its `growths`: pairs of readings whose
differences are what came in, each in the interval `(edges[i - 1], edges[i]]` of its second one. What is not plain:

- Away at a boundary: its last scrape before stands for it, up to LOOKBACK_SECONDS before the first boundary. What
  came meanwhile counts in the interval of the scrape that shows it.
- New to Prometheus: series that began after the first boundary count from 0, older ones from the first scrape on,
  because what they held before may have come at any time.
- Under a new name: an exporter that shows the journal of one that is gone goes on where that one stopped.
- Another journal, or a copy brought back: the old one counts up to its last scrape, the new one as if the exporter
  were new since then.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from fleetpulse.query.promql import Prometheus, Series
from fleetpulse.query.readings import RESETS, SCRAPES, Asking, Key, Reading, Target, at_each_time, reading_of
from fleetpulse.query.scrapes import MILLISECOND, Scrapes
from fleetpulse.query.upstream import together

LOOKBACK_SECONDS = 7 * 86_400.0
GRACE_SECONDS = 300.0  # as long as Prometheus itself takes an old sample for the newest
MAX_TARGETS = 500
MAX_LOOKUPS = 200  # of readings between boundaries; past it, growth moves on to the next interval with a reading
MAX_JOURNALS = 16


class Growth(NamedTuple):
    """What came in between two readings; it counts in the interval that ends with `edges[edge]`."""

    edge: int
    before: Reading
    after: Reading


@dataclass
class Track:
    """One exporter. `readings[i]` is the newest since the boundary before, None where it was not scraped since.

    `turned[i]` says that it lost requests since: its journal was deleted, or brought back from a copy.
    `base` is what the first of them is compared with: of an exporter that is new to Prometheus, what it held at its
    `first` scrape and may have got before the window. `continues` says that the base is another target's last
    reading. `first` is the first scrape in the window, where the exporter was away when the window began.
    """

    target: Target
    readings: list[Reading | None]
    scraped: list[bool]
    turned: list[bool]
    base: Reading | None = None
    continues: bool = False
    first: float | None = None
    growths: list[Growth] = field(default_factory=list)

    @property
    def last(self) -> Reading | None:
        """Its newest reading."""
        return next((reading for reading in reversed(self.readings) if reading is not None), None)

    @property
    def in_window(self) -> bool:
        """Whether it was scraped after the first boundary."""
        return any(reading is not None for reading in self.readings[1:])


async def follow(prometheus: Prometheus, asking: Asking, edges: Sequence[float]) -> list[Track]:
    """Every exporter's track over ascending boundaries (Unix seconds, two or more). Raises UpstreamError."""
    scrapes = Scrapes(prometheus, asking)
    tracks = await _read(prometheus, asking, edges)
    await together(_look_up(scrapes, track, index, edges) for track, index in _missing(tracks))
    await together(_begin(scrapes, track, edges) for track in tracks)
    _join_renamed(tracks)
    await together(_grow(scrapes, track) for track in tracks)
    return tracks


# Readings at the boundaries ------------------------------------------------------------------------------------
async def _read(prometheus: Prometheus, asking: Asking, edges: Sequence[float]) -> list[Track]:
    """What can be read at the boundaries themselves: one query for each run of boundaries equally far apart."""
    answers = await together(_read_run(prometheus, asking, run, width) for run, width in _runs(edges))
    there = {at: targets for answer in answers for at, targets in at_each_time(answer).items()}
    targets = sorted({target for values in there.values() for target in values})
    if len(targets) > MAX_TARGETS:
        raise prometheus.failed(
            f"knows {len(targets)} exporters in this time; more than {MAX_TARGETS} are too many"
        )
    return [_track(target, [there.get(edge, {}).get(target, {}) for edge in edges]) for target in targets]


def _track(target: Target, values: list[dict[Key, float]]) -> Track:
    scraped = [Key(SCRAPES) in each for each in values]
    turned = [Key(RESETS) in each for each in values]
    return Track(target, [reading_of(each) for each in values], scraped, turned)


async def _read_run(prometheus: Prometheus, asking: Asking, run: Sequence[float], width: float) -> list[Series]:
    expression = asking.reading(width=width)
    if len(run) == 1:
        answer = await prometheus.query(expression, run[0])
        return [Series(labels, [(run[0], value) for _, value in points]) for labels, points in answer]
    return await prometheus.query_range(expression, run[0], run[-1], width)


def _runs(edges: Sequence[float]) -> Iterator[tuple[list[float], float]]:
    """Boundaries equally far from the one before, with that distance; the first has a run of its own."""
    yield [edges[0]], LOOKBACK_SECONDS
    run: list[float] = []
    width = 0.0
    for before, edge in pairwise(edges):
        if run and round(edge - before, 3) != width:
            yield run, width
            run = []
        run.append(edge)
        width = round(edge - before, 3)
    yield run, width


def _missing(tracks: Iterable[Track]) -> list[tuple[Track, int]]:
    """Where an exporter was away at a boundary but scraped before it; first and last scrapes matter most."""
    needed: list[tuple[Track, int]] = []
    wanted: list[tuple[Track, int]] = []
    for track in tracks:
        ends = {0, max((index for index, scraped in enumerate(track.scraped) if scraped), default=0)}
        for index, (reading, scraped) in enumerate(zip(track.readings, track.scraped, strict=True)):
            if reading is None and scraped:
                (needed if index in ends else wanted).append((track, index))
    return [*needed, *wanted[:MAX_LOOKUPS]]


async def _look_up(scrapes: Scrapes, track: Track, index: int, edges: Sequence[float]) -> None:
    low = edges[index - 1] if index else edges[0] - LOOKBACK_SECONDS
    at = await scrapes.last(track.target, low, edges[index])
    if at is not None:
        track.readings[index] = await scrapes.reading(track.target, at)


# What they are compared with -----------------------------------------------------------------------------------
async def _begin(scrapes: Scrapes, track: Track, edges: Sequence[float]) -> None:
    """Finds what the first reading in the window is compared with."""
    track.base = track.readings[0]
    if track.base is not None and edges[0] - track.base.at <= GRACE_SECONDS:
        return
    if not track.in_window:
        return
    track.first = await scrapes.first(track.target, edges[0], edges[-1])
    if track.base is None and track.first is not None:
        track.base = await scrapes.reading(track.target, track.first, since=edges[0])


def _join_renamed(tracks: Sequence[Track]) -> None:
    """Lets exporters that are new go on where one that is gone stopped, if both show the same journal."""
    ended = {track.target: track.last for track in tracks}
    for track in sorted(tracks, key=lambda each: each.first or 0.0):
        if track.first is None or track.readings[0] is not None or track.base is None or track.base.journal is None:
            continue
        for target, last in ended.items():
            if last is not None and last.journal == track.base.journal and last.at < track.first:
                track.base, track.continues = last, True
                del ended[target]  # one can go on, not two
                break


# What came in between ------------------------------------------------------------------------------------------
async def _grow(scrapes: Scrapes, track: Track) -> None:
    before = track.base
    for edge, after in enumerate(track.readings):
        if edge == 0 or after is None:
            continue
        if before is not None:
            pairs = [(before, after)]
            if track.turned[edge] or not _goes_on(before, after):
                pairs = await _lives(scrapes, track.target, before, after)
            track.growths += [Growth(edge, *pair) for pair in pairs]
        before = after


def _goes_on(before: Reading, after: Reading) -> bool:
    """Whether two readings may be of one journal that lost nothing between them."""
    return before.journal == after.journal and (before.stored or 0.0) <= (after.stored or 0.0)


async def _lives(
    scrapes: Scrapes, target: Target, before: Reading, after: Reading
) -> list[tuple[Reading, Reading]]:
    """Pairs of readings within which the journal is one and loses nothing."""
    pairs: list[tuple[Reading, Reading]] = []
    while len(pairs) < MAX_JOURNALS:
        if before.stored is None:  # whichever journal comes first may be older than this
            began = await scrapes.first_stored(target, before.at + MILLISECOND, after.at)
            first = None if began is None else await scrapes.reading(target, began, since=before.at)
            if first is None or first.journal is None:
                break
            before = first
        turn = await scrapes.turn(target, before, after.at)
        if turn is None and after.stored is not None:
            break
        ended = await scrapes.last_stored(target, before.at, after.at if turn is None else turn - MILLISECOND)
        end = before.at if ended is None else ended
        pairs.append((before, await scrapes.reading(target, end)))
        if turn is None:  # the new one has no requests yet
            before = Reading(end)
            break
        before = await _new_life(scrapes, target, turn, end)
    return [*pairs, (before, after)]


async def _new_life(scrapes: Scrapes, target: Target, turn: float, ended: float) -> Reading:
    """What a journal held already when it took another's place; nothing, where journals cannot be told apart."""
    held = await scrapes.reading(target, turn, since=ended)
    return Reading(ended, 0.0) if held.journal is None else held
