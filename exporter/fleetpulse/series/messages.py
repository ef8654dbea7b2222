"""The fold of chat messages, the exporter's own and recorded ones."""

from collections import Counter
from collections.abc import Callable, Iterable

from fleetpulse import catalogue
from fleetpulse.journal.rows import MessageRow
from fleetpulse.journal.totals import Key

Folded = Callable[[str, str, int], str]
"""A label, one of its values, how many carry it: the value to count under."""


def fold_messages(deltas: dict[Key, float], rows: Iterable[MessageRow], folded: Folded) -> None:
    """Counts messages by stream and kind, and those that matched rules."""
    counts: Counter[tuple[str, str]] = Counter()
    hits: Counter[tuple[str, str]] = Counter()
    for row in rows:
        counts[row.stream, row.kind] += 1
        if row.rules is not None:
            hits.update((row.stream, rule) for rule in row.rules.strip(",").split(","))
    for (stream, rule), count in hits.items():
        deltas[Key(catalogue.TAP_RULE_HITS.name, (folded("stream", stream, 0), rule))] += count
    for (stream, kind), count in counts.items():
        labels = (folded("stream", stream, count), folded("message_kind", kind, count))
        deltas[Key(catalogue.CHAT_MESSAGES.name, labels)] += count
