"""What a feed yields: one frozen class for each message of `/ws/live`, and for what becomes of the connection.

Source: docs/live.md. Unknown types and fields are passed over: later versions may add some.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["connecting", "connected", "waiting"]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription stands. `recovered` says that what follows is exactly what was missed, then the live stream.

    `policy` is `event` or `state`. The stream stands at `offset` of `epoch`, and at `positions` of other origins.
    """

    topic: str
    policy: str
    epoch: str
    offset: int
    recovered: bool
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    epoch: str
    offset: int
    kind: str
    data: Any
    key: str | None = None
    origin: str | None = None


class Event(_Message):
    """A message of an event topic. `epoch` and `offset` name it for good: no other of the topic has both."""

    __slots__ = ()


class Update(_Message):
    """A message of a state topic: `data` is the newest of `key`; with the kind `offline` it only says that."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Left:
    """On a filtered state topic: `key` matches no longer, drop it."""

    topic: str
    epoch: str
    offset: int
    key: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The full state, which replaces what you have."""

    topic: str
    epoch: str
    offset: int
    data: list[Any]
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """The events with offsets `first` to `last` of `epoch` are lost to you: the server holds them no longer."""

    topic: str
    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Position:
    """On a filtered topic: the stream is here, though nothing since matched."""

    topic: str
    epoch: str
    offset: int
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateChange:
    """What becomes of the connection: `connecting`, `connected`, or `waiting` for `retry_in` seconds.

    `detail` says, for people, why the last connection ended.
    """

    state: State
    detail: str = ""
    retry_in: float | None = None


TopicMessage = Subscribed | Event | Update | Left | Snapshot | Gap | Position
Message = TopicMessage | StateChange


def load(text: str) -> dict[str, Any]:
    """The JSON object of a text frame; an empty one where it is none."""
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def typed(raw: Mapping[str, Any], epoch: str) -> TopicMessage | None:
    """The message of a topic as its class; `epoch` is the one of `subscribed`, for messages that name none.

    None for a type that is not known.
    """
    make = _MAKERS.get(raw.get("type", ""))
    return None if make is None else make(raw, raw["topic"], raw.get("epoch", epoch))


def _subscribed(raw: Mapping[str, Any], topic: str, epoch: str) -> Subscribed:
    return Subscribed(topic, raw["policy"], epoch, raw["offset"], raw["recovered"], raw.get("positions") or {})


def _event(raw: Mapping[str, Any], topic: str, epoch: str) -> Event:
    return Event(topic, epoch, raw["offset"], raw["kind"], raw["data"], raw.get("key"), raw.get("origin"))


def _update(raw: Mapping[str, Any], topic: str, epoch: str) -> Update:
    return Update(topic, epoch, raw["offset"], raw["kind"], raw["data"], raw.get("key"), raw.get("origin"))


def _left(raw: Mapping[str, Any], topic: str, epoch: str) -> Left:
    return Left(topic, epoch, raw["offset"], raw.get("key"), raw.get("origin"))


def _snapshot(raw: Mapping[str, Any], topic: str, epoch: str) -> Snapshot:
    return Snapshot(topic, epoch, raw["offset"], raw["data"], raw.get("positions") or {})


def _gap(raw: Mapping[str, Any], topic: str, epoch: str) -> Gap:
    return Gap(topic, epoch, raw["from"], raw["to"])


def _position(raw: Mapping[str, Any], topic: str, epoch: str) -> Position:
    return Position(topic, epoch, raw["offset"], raw.get("positions") or {})


_MAKERS: dict[str, Callable[[Mapping[str, Any], str, str], TopicMessage]] = {
    "subscribed": _subscribed,
    "event": _event,
    "update": _update,
    "left": _left,
    "snapshot": _snapshot,
    "gap": _gap,
    "position": _position,
}
