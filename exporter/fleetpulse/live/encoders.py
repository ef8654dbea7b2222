"""How an endpoint's clients see a topic: JSON payloads, one per WebSocket message.

Encoders are stateless and shared: clients with the same encoder and filter form one audience, which is encoded for
once. `LiveEncoder` speaks the documented protocol of `/ws/live`; the other two speak exactly what their documents
show, and stay silent where these know no message.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from fleetpulse.live.messages import Message, dumps
from fleetpulse.live.topics import STATE, Positions, Topic

DOCUMENT_TIME = "%Y-%m-%d %H:%M:%S"
RECENT_ALERTS = 10


class Sends(Protocol):
    """Whoever counts what is sent to the clients of some endpoints, besides the metrics."""

    sent: int


class Encoder:
    """What is common: an endpoint that has no message for something sends none.

    Positions are `{epoch: offset}`; the topic's own epoch is `topic.epoch`. With `receipts`, whatever brings
    messages of a topic to a client ends with a WebSocket ping for each of their origins, whose payload is
    `receipt`: the client's pong, which brings it back (`Session.ponged`), proves that it has read that far.
    `sends` counts messages to the encoder's clients.
    """

    receipts = False
    sends: Sends | None = None

    def receipt(self, topic: Topic, epoch: str, offset: int) -> bytes:
        """The payload of the ping, 125 bytes at most: of an origin, everything up to `offset` was sent."""
        raise NotImplementedError

    def subscribed(
        self,
        topic: Topic,  # noqa: ARG002 - an interface
        positions: Positions,  # noqa: ARG002 - an interface
        *,
        recovered: bool,  # noqa: ARG002 - an interface
        tag: Any = None,  # noqa: ARG002 - an interface
    ) -> list[bytes]:
        """The answer to a subscription; `positions` are where the client stands until the next message."""
        return []

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:
        """The full state, which replaces whatever the client had."""
        raise NotImplementedError

    def message(self, topic: Topic, message: Message) -> bytes:
        """One message."""
        raise NotImplementedError

    def left(self, topic: Topic, message: Message) -> bytes:
        """The message's key no longer matches the filter. Only an endpoint with filters needs it."""
        raise NotImplementedError

    def gap(self, topic: Topic, epoch: str, first: int, last: int) -> list[bytes]:  # noqa: ARG002 - an interface
        """Messages of an origin with offsets first..last are lost to this client."""
        return []

    def position(self, topic: Topic, positions: Positions) -> list[bytes]:  # noqa: ARG002 - an interface
        """The stream is there, though nothing up to it matched the filter."""
        return []


class LiveEncoder(Encoder):
    """The protocol of `/ws/live`, as `docs/live.md` has it.

    A client's position is the newest `offset` it saw of each `epoch`; messages without one are of the topic's own.
    """

    def subscribed(self, topic: Topic, positions: Positions, *, recovered: bool, tag: Any = None) -> list[bytes]:
        """`subscribed`, with the request's `id` where it had one."""
        answer = {"type": "subscribed", "topic": topic.name, "policy": topic.family.policy.value}
        answer |= _place(topic, positions) | {"recovered": recovered}
        return [orjson.dumps(answer if tag is None else answer | {"id": tag})]

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:
        """`snapshot`, stamped with its position."""
        head = {"type": "snapshot", "topic": topic.name} | _place(topic, topic.starts)
        return [dumps(head | {"data": list(items)})]

    def message(self, topic: Topic, message: Message) -> bytes:
        """`update` on state topics, `event` on event topics."""
        shown = _head("update" if topic.family.policy is STATE else "event", topic, message)
        shown["kind"] = message.kind
        shown["data"] = orjson.Fragment(message.body)
        return orjson.dumps(shown)

    def left(self, topic: Topic, message: Message) -> bytes:
        """`left`: drop this key."""
        return orjson.dumps(_head("left", topic, message))

    def gap(self, topic: Topic, epoch: str, first: int, last: int) -> list[bytes]:
        """`gap`; its offset is `to`."""
        gap = {"type": "gap", "topic": topic.name, "epoch": epoch, "from": first, "to": last, "offset": last}
        return [orjson.dumps(gap)]

    def position(self, topic: Topic, positions: Positions) -> list[bytes]:
        """`position`."""
        return [orjson.dumps({"type": "position", "topic": topic.name} | _place(topic, positions))]


class PoolEncoder(Encoder):
    """`initial_metrics`, `metrics_update` and `agent_offline` of one agent pool."""

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:
        """`initial_metrics`; sent again, it replaces what the page shows."""
        return [dumps({"type": "initial_metrics", "pool_id": topic.rest, "metrics": list(items)})]

    def message(self, topic: Topic, message: Message) -> bytes:
        """One agent's metrics, or that it is offline."""
        kind = "agent_offline" if message.kind == "offline" else "metrics_update"
        return orjson.dumps({"type": kind, "pool_id": topic.rest, "metrics": orjson.Fragment(message.body)})


class AlertEncoder(Encoder):
    """`alert` messages; a client that missed some is told by `gap`, which the document's client passes over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def timestamp(self, at: float | None = None) -> str:
        """A time as the document writes it, in UTC."""
        return datetime.fromtimestamp(self._clock() if at is None else at, UTC).strftime(DOCUMENT_TIME)

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:  # noqa: ARG002 - an interface
        """The last alerts, the newest last."""
        now = self.timestamp()
        return [dumps({"type": "alert", "timestamp": now, "alert": item}) for item in items[-RECENT_ALERTS:]]

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """One alert."""
        shown = {"type": "alert", "timestamp": self.timestamp(message.at), "alert": orjson.Fragment(message.body)}
        return orjson.dumps(shown)

    def gap(self, topic: Topic, epoch: str, first: int, last: int) -> list[bytes]:  # noqa: ARG002 - an interface
        """Alerts that this client missed."""
        return [orjson.dumps({"type": "gap", "timestamp": self.timestamp(), "from": first, "to": last})]


def _head(kind: str, topic: Topic, message: Message) -> dict[str, Any]:
    head: dict[str, Any] = {"type": kind, "topic": topic.name, "offset": message.offset}
    if message.epoch is not None:
        head["epoch"] = message.epoch
    if message.origin is not None:
        head["origin"] = message.origin
    if message.key is not None:
        head["key"] = message.key
    return head


def _place(topic: Topic, positions: Positions) -> dict[str, Any]:
    """This replica's own place, and that of each where there are others."""
    place: dict[str, Any] = {"epoch": topic.epoch, "offset": positions.get(topic.epoch, 0)}
    if positions.keys() - {topic.epoch}:
        place["positions"] = dict(positions)
    return place
