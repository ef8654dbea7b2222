"""One thing that happened in the service, as handlers and the log get it.

Whatever it is made of is cut to bounds and can be stored: telling of an event must never fail, so nothing here
raises for what it is given.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from fleetpulse.journal import EventRow, rfc3339

KIND_CHARACTERS = 100
NAME_CHARACTERS = 200
TEXT_CHARACTERS = 500
DETAIL_BYTES = 16_384
DETAIL_VALUES = 500
DETAIL_DEPTH = 6
CATEGORIES = ("connection", "message", "intent", "audit", "account", "notification", "tap", "system", "custom")
FLEETING = frozenset({"message_received", "message_status_changed", "typing_status_changed"})
"""Kinds for handlers only: the messages themselves are stored, and typing is worth nothing a moment later."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: `kind`, of the sort `category`, done by `actor`, to `subject`. `at` is Unix seconds."""

    event_id: str
    at: float
    category: str
    kind: str
    actor: str
    subject: str
    detail: Mapping[str, Any]
    replica: str

    def as_json(self) -> dict[str, Any]:
        """The event as the API and the live feed show it."""
        return self.row().as_json()

    def row(self) -> EventRow:
        """The event as it is stored."""
        detail = orjson.dumps(self.detail).decode()
        return EventRow(self.event_id, self.at, self.category, self.kind, self.actor, self.subject, detail)


def make_event(  # noqa: PLR0913 - what an event is made of
    at: float, replica: str, category: str, kind: str, actor: str, subject: str, detail: Mapping[str, Any]
) -> Event:
    """An event with an id of its own; texts are cut, and what JSON does not know becomes text."""
    return Event(
        event_id=uuid.uuid4().hex,
        at=at,
        category=cut(category, KIND_CHARACTERS),
        kind=cut(kind, KIND_CHARACTERS),
        actor=cut(actor, NAME_CHARACTERS),
        subject=cut(subject, NAME_CHARACTERS),
        detail=_bounded(detail),
        replica=replica,
    )


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, which UTF-8 can hold."""
    text = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def _bounded(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The detail within its bounds; one that is too large all the same keeps its first values, and says so."""
    whole = _Cutter().pairs(detail, DETAIL_DEPTH)
    left = DETAIL_BYTES - _size(whole)
    if left >= 0:
        return whole
    kept: dict[str, Any] = {"cut": True}
    left = DETAIL_BYTES - _size(kept)
    for name, value in whole.items():
        left -= _size({name: value})
        if left < 0:
            break
        kept[name] = value
    return kept


def _size(detail: Mapping[str, Any]) -> int:
    return len(orjson.dumps(detail))


class _Cutter:
    """Takes the first values of a structure, however wide and deep it is, or even a ring."""

    def __init__(self) -> None:
        self._left = DETAIL_VALUES

    def pairs(self, pairs: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found = self._first(pairs.items())
        return {cut(str(name), KIND_CHARACTERS): self._value(value, depth) for name, value in found}

    def _first(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            if not self._left:
                return
            self._left -= 1
            yield value

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, (int, float)):
            return _number(value)
        if depth and isinstance(value, Mapping):
            return self.pairs(value, depth - 1)
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [self._value(each, depth - 1) for each in self._first(value)]
        return None if value is None else cut(_text(value), TEXT_CHARACTERS)


def _number(value: float) -> object:
    """What JSON and those who read it can hold; else a text."""
    exact = abs(value) < 2**53 if isinstance(value, int) else value - value == 0
    return value if exact else _text(value)[:TEXT_CHARACTERS]


def _text(value: object) -> str:
    """A moment in RFC 3339, anything else as it calls itself."""
    try:
        return rfc3339(value.timestamp()) if isinstance(value, datetime) else str(value)
    except Exception:  # noqa: BLE001 - a foreign object's own methods; telling must not fail
        return type(value).__name__
