"""How chat connections see the hub's topics: as the document's messages. Stateless and shared."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from fleetpulse.chat.messages import new_message
from fleetpulse.live.encoders import Encoder, Sends
from fleetpulse.live.messages import Message, dumps
from fleetpulse.live.topics import Positions, Topic

NAME_BYTES = 8
PROOF = re.compile(rb"([0-9a-f]{16}):([!-9;-~]{1,64}):([0-9]{1,19})")


class ChatEncoder(Encoder):
    """Base: what is sent through it is a message of the chat endpoints."""

    def __init__(self, sends: Sends) -> None:
        self.sends = sends


class MessageEncoder(ChatEncoder):
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

    def receipt(self, topic: Topic, epoch: str, offset: int) -> bytes:
        """See `proof`."""
        return proof(topic.name, epoch, offset)

    def subscribed(self, topic: Topic, positions: Positions, *, recovered: bool, tag: Any = None) -> list[bytes]:
        """`session_joined`; `tag` holds what else is to be told."""
        own = positions.get(topic.epoch, 0)
        joined = {"type": "session_joined", "session_id": topic.rest, "epoch": topic.epoch, "offset": own}
        if len(positions) > 1:
            joined["positions"] = dict(positions)
        return [orjson.dumps(joined | {"recovered": recovered} | (tag or {}))]


class InboxEncoder(ChatEncoder):
    """What is addressed to a user: the message itself, with its place."""

    receipts = True

    def receipt(self, topic: Topic, epoch: str, offset: int) -> bytes:
        """See `proof`."""
        return proof(topic.name, epoch, offset)

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """The message as it was posted."""
        return orjson.dumps(self.shown(message))

    def shown(self, message: Message) -> dict[str, Any]:
        """The message as it was posted, with its place."""
        return _placed(dict(message.fields), message)


class PlainEncoder(ChatEncoder):
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


class Proof(NamedTuple):
    """What a pong proves: of the topic with this short name, an origin's messages up to `offset` were read."""

    name: bytes
    epoch: str
    offset: int


def proof(topic: str, epoch: str, offset: int) -> bytes:
    """A ping's payload that says up to where a topic was sent: names may be longer than a ping can carry."""
    return b"%b:%b:%d" % (name_of(topic), epoch.encode(), offset)


def name_of(topic: str) -> bytes:
    """The short name of a topic in a ping's payload."""
    return blake2b(topic.encode(), digest_size=NAME_BYTES).hexdigest().encode()


def proven(payload: bytes) -> Proof | None:
    """What a pong proves; None where it is none of ours."""
    found = PROOF.fullmatch(payload)
    return None if found is None else Proof(found[1], found[2].decode(), int(found[3]))


def _placed(shown: dict[str, Any], message: Message) -> dict[str, Any]:
    shown["offset"] = message.offset
    if message.epoch is not None:
        shown["epoch"] = message.epoch
    return shown
