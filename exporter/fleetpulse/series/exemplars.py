"""Exemplars: which request stands behind a latency bucket (OpenMetrics 1.0, at most 128 characters of labels)."""

from bisect import bisect_left
from collections.abc import Sequence

from fleetpulse.journal.rows import RequestRow
from fleetpulse.series.fold import BOUNDS, LE, NO_MODEL
from fleetpulse.series.store import SeriesStore
from fleetpulse.series.text import labelled, number

MAX_LABEL_CHARACTERS = 128
NEWEST = 32  # rows of one submission that are looked at: the newest of each bucket is kept anyway


def remember(store: SeriesStore, rows: Sequence[RequestRow]) -> None:
    """Keeps the newest of these rows as the exemplars of their buckets."""
    for row in rows[-NEWEST:]:
        bound = LE[bisect_left(BOUNDS, row.execution_time)]
        store.exemplar((row.source, row.model or NO_MODEL), bound, _text(row))


def _text(row: RequestRow) -> str:
    """` # {trace_id="…",request_id="…"} value timestamp`, leaving out what does not fit."""
    pairs: list[tuple[str, str]] = []
    room = MAX_LABEL_CHARACTERS
    for name, value in (("trace_id", row.trace_id), ("request_id", row.request_id)):
        if value and len(name) + len(value) <= room:
            pairs.append((name, value))
            room -= len(name) + len(value)
    if not pairs:
        return ""
    names, values = zip(*pairs, strict=True)
    return f" # {labelled(names, values)} {number(row.execution_time)} {row.received_at:.3f}"
