"""Filters: which messages of a topic a subscription wants, by top-level fields of their data.

On a state topic a filter also says when a key stops matching (`Filtered.left`), so that a client never shows what
is no longer so.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleetpulse.live.messages import Hole, Message

Scalar = str | int | float | bool | None
HIDDEN_KEYS = 10_000


class Filtered(NamedTuple):
    """A message to show; `left` when it only tells that its key no longer matches."""

    message: Message
    left: bool


def _token(value: object) -> tuple[bool, object]:
    """Keeps JSON's true apart from 1; what is no scalar matches nothing."""
    if value is None or isinstance(value, str | int | float):
        return isinstance(value, bool), value
    return False, _token


@dataclass(frozen=True)
class Filter:
    """Every named field must have one of its values. Equal filters share one audience."""

    fields: tuple[tuple[str, frozenset[tuple[bool, object]]], ...]

    @classmethod
    def of(cls, wanted: Mapping[str, Scalar | Iterable[Scalar]]) -> "Filter | None":
        """A filter from `{field: value or [values]}`; None where nothing is asked for."""
        parts = []
        for name, value in sorted(wanted.items()):
            values = [value] if value is None or isinstance(value, str | int | float) else value
            parts.append((name, frozenset(map(_token, values))))
        return cls(tuple(parts)) if parts else None

    def matches(self, data: Mapping[str, Any]) -> bool:
        """Whether the data has each field with a wanted value; a missing field is no match."""
        return all(name in data and _token(data[name]) in wanted for name, wanted in self.fields)

    def lacks(self, data: Mapping[str, Any]) -> bool:
        """Whether some field is missing while all that are there match: the data says too little to tell."""
        present = [(name, wanted) for name, wanted in self.fields if name in data]
        return len(present) < len(self.fields) and all(_token(data[name]) in wanted for name, wanted in present)

    def events(self, messages: Iterable[Message]) -> Iterator[Filtered]:
        """The matching messages of an event topic, and every hole in its stream."""
        return (
            Filtered(message, left=False)
            for message in messages
            if isinstance(message, Hole) or self.matches(message.fields)
        )

    def states(self, messages: Iterable[Message], hidden: set[str | None]) -> Iterator[Filtered]:
        """The matching messages of a state topic, and one `left` for each key that ceased to match.

        `hidden` holds the keys known not to match; bounded: forgetting it only repeats a `left`. A message that
        lacks a field (such as `offline`, which names only the agent) passes while its key matches.
        """
        for message in messages:
            fields = message.fields
            if self.matches(fields) or (message.key not in hidden and self.lacks(fields)):
                hidden.discard(message.key)
                yield Filtered(message, left=False)
            elif message.key not in hidden:
                if len(hidden) >= HIDDEN_KEYS:
                    hidden.clear()
                hidden.add(message.key)
                yield Filtered(message, left=True)
