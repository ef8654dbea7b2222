"""How chat connections see the hub's topics: as the document's messages. Stateless and shared."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import orjson

from fleetpulse.chat.messages import new_message
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.messages import Message, dumps
from fleetpulse.live.topics import Positions, Topic

NAME_BYTES = 8


class MessageEncoder(Encoder):
    """Stored messages as `new_message`, each with its place: `offset`, and `epoch` where that is another replica's.

    `gap` names offsets that are lost to this client.
    """

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """`new_message`."""
        return dumps(_placed(new_message(message.fields), message))

    def gap(self, topic: Topic, epoch: str, first: int, last: int) -> list[bytes]:
        """`gap`."""
        return [orjson.dumps({"type": "gap", "session_id": topic.rest, "epoch": epoch, "from": first, "to": last})]


class SessionEncoder(MessageEncoder):
    """One session; its pongs say what was delivered."""

    receipts = True

    def receipt(self, topic: Topic, offset: int) -> bytes:
        """See `proof`."""
        return proof(topic.name, offset)

    def subscribed(self, topic: Topic, positions: Positions, *, recovered: bool, tag: Any = None) -> list[bytes]:
        """`session_joined`; `tag` holds what else is to be told."""
        own = positions.get(topic.epoch, 0)
        joined = {"type": "session_joined", "session_id": topic.rest, "epoch": topic.epoch, "offset": own}
        if len(positions) > 1:
            joined["positions"] = dict(positions)
        return [orjson.dumps(joined | {"recovered": recovered} | (tag or {}))]


class InboxEncoder(Encoder):
    """What is addressed to a user: the message itself, with its place."""

    receipts = True

    def receipt(self, topic: Topic, offset: int) -> bytes:
        """See `proof`."""
        return proof(topic.name, offset)

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """The message as it was posted."""
        return orjson.dumps(self.shown(message))

    def shown(self, message: Message) -> dict[str, Any]:
        """The message as it was posted, with its place."""
        return _placed(dict(message.fields), message)


class PlainEncoder(Encoder):
    """Topics whose data are the document's messages already."""

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:  # noqa: ARG002 - an interface
        """Each of them."""
        return [dumps(item) for item in items]

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """The data."""
        return message.body


class EventEncoder(PlainEncoder):
    """Rows of the event log for monitors: `connection_event`."""

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """One event, with its place."""
        return dumps(_placed({"type": "connection_event", "event": message.fields}, message))


def proof(topic: str, offset: int) -> bytes:
    """A ping's payload that says up to where a topic was sent: names may be longer than a ping can carry."""
    return name_of(topic) + b"%d" % offset


def name_of(topic: str) -> bytes:
    """The short name of a topic in a ping's payload."""
    return blake2b(topic.encode(), digest_size=NAME_BYTES).hexdigest().encode() + b":"


def proven(payload: bytes) -> tuple[bytes, int] | None:
    """The short name and the offset of a pong's payload; None where it is none of ours."""
    name, colon, offset = payload.partition(b":")
    return (name + colon, int(offset)) if colon and offset.isdigit() and len(offset) < NAME_BYTES * 2 + 4 else None


def _placed(shown: dict[str, Any], message: Message) -> dict[str, Any]:
    shown["offset"] = message.offset
    if message.epoch is not None:
        shown["epoch"] = message.epoch
    return shown
