"""What sums over tracks really cover: gaps at the window's edges, and boundaries that no reading is near.

An exporter that is away is told from one that is gone by Prometheus' `up`: a target that Prometheus still tries to
scrape is away; one that it does not know any more is gone, and has said all it had to say.
"""

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from fleetpulse.query.figures import Covered, Gap
from fleetpulse.query.promql import Prometheus, selector
from fleetpulse.query.readings import Reading, Target
from fleetpulse.query.tracks import GRACE_SECONDS, Track
from fleetpulse.query.windows import zoned


async def away(prometheus: Prometheus, tracks: Iterable[Track], at: float) -> set[Target]:
    """The exporters that are not scraped at this time but should be; all that are not, where nothing is."""
    missing = [track.target for track in tracks if track.last is None or at - track.last.at > GRACE_SECONDS]
    if not missing:
        return set()
    tried = " or ".join(selector("up", dict(target)) for target in missing)
    answer = await prometheus.query(f"{tried} or count(up)", at)
    known = {tuple(sorted(item for item in series.labels.items() if item[0] != "__name__")) for series in answer}
    return {target for target in missing if target in known} if () in known else set(missing)


def covered(
    tracks: Sequence[Track], edges: Sequence[float], absent: set[Target], zone: ZoneInfo, *, over: bool
) -> Covered:
    """What the tracks cover between the first and the last boundary; `over` says whether the window has ended."""
    starts, ends, gaps = [], [], []
    for track in tracks:
        for start, end, counted in _gaps(track, edges, track.target in absent):
            gaps.append(Gap(dict(track.target), zoned(start, zone), zoned(end, zone), counted))
        if track.in_window:
            starts.append(_started(track, edges[0]))
            ends.append(_last(track).at)
    if not starts:
        return Covered(None, None, complete=False, gaps=tuple(gaps))
    return Covered(zoned(min(starts), zone), zoned(max(ends), zone), over and not gaps, tuple(gaps))


def blurred(tracks: Sequence[Track], edges: Sequence[float], absent: set[Target]) -> set[int]:
    """The boundaries at which some exporter's reading is so old that what came may count on the wrong side."""
    return {
        index
        for track in tracks
        for index, edge in enumerate(edges)
        if _is_blurred(track, index, edge, absent=track.target in absent)
    }


def _is_blurred(track: Track, index: int, edge: float, *, absent: bool) -> bool:
    carried = next((reading for reading in reversed(track.readings[: index + 1]) if reading is not None), None)
    if carried is None:
        return _is_partial(track)
    later = any(reading is not None for reading in track.readings[index + 1 :])
    return edge - carried.at > GRACE_SECONDS and (later or absent)


def _gaps(track: Track, edges: Sequence[float], absent: bool) -> Iterable[tuple[float, float, bool]]:  # noqa: FBT001
    """Start, end and whether what came in it is counted."""
    if track.in_window and track.first is not None:
        base = track.readings[0]
        if base is not None:
            yield base.at, track.first, True
        elif _is_partial(track) and track.first - edges[0] > GRACE_SECONDS:
            yield edges[0], track.first, False
    if absent and track.last is not None:
        yield track.last.at, edges[-1], False


def _started(track: Track, begin: float) -> float:
    """From when on the track's sums count."""
    if track.readings[0] is not None or track.continues:
        assert track.base is not None  # noqa: S101 - what continues has one, and the first reading is one
        return track.base.at
    return track.first if _is_partial(track) and track.first is not None else begin


def _is_partial(track: Track) -> bool:
    """Whether it held something at its first scrape of which nobody knows when it came."""
    held = track.base is not None and any(track.base.values.values())
    return track.readings[0] is None and not track.continues and held


def _last(track: Track) -> Reading:
    assert track.last is not None  # noqa: S101 - asked only of those scraped in the window
    return track.last
