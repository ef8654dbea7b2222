"""The fold of chat messages, the exporter's own and recorded ones."""

from collections import Counter
from collections.abc import Callable, Iterable

from fleetpulse import catalogue
from fleetpulse.journal.rows import MessageRow
from fleetpulse.journal.totals import Key

Folded = Callable[[str, str, int], str]
"""A label, one of its values, how many carry it: the value to count under."""


def fold_messages(deltas: dict[Key, float], rows: Iterable[MessageRow], folded: Folded) -> None:
    """Counts messages by stream and kind."""
    counts = Counter((row.stream, row.kind) for row in rows)
    for (stream, kind), count in counts.items():
        labels = (folded("stream", stream, count), folded("message_kind", kind, count))
        deltas[Key(catalogue.CHAT_MESSAGES.name, labels)] += count
