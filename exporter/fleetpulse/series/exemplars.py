"""Exemplars: which request stands behind a latency bucket (OpenMetrics 1.0, at most 128 characters of labels)."""

from fleetpulse.journal.rows import RequestRow
from fleetpulse.series.text import labelled, number

MAX_LABEL_CHARACTERS = 128


def exemplar(row: RequestRow) -> str:
    """` # {trace_id="…",request_id="…"} value timestamp`, leaving out the labels that do not fit."""
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
