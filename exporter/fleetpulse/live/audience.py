"""Audiences: the subscriptions to one topic that see the same bytes, because encoder and filter are the same."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fleetpulse.live import frames
from fleetpulse.live.client import Client
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.filters import Filter, Filtered
from fleetpulse.live.messages import Message, fields_of
from fleetpulse.live.topics import EVENT, STATE, Position, Topic

AudienceKey = tuple[Encoder, Filter | None]
OPENING_SECONDS = 1.0  # how long the bytes for newcomers are shared while nothing new is published
OPENINGS = 8


class Opening(NamedTuple):
    """What a newcomer gets before the live stream; `offset` is where it stands before `frames`."""

    offset: int
    recovered: bool
    frames: bytes


class Subscription:
    """One client's place in one audience. `cursor` counts only while the client is not in step (`Delivery`)."""

    __slots__ = ("audience", "client", "cursor", "stalled")

    def __init__(self, client: Client, audience: "Audience", cursor: int) -> None:
        self.client = client
        self.audience = audience
        self.cursor = cursor
        self.stalled = False


class Audience:
    """Encodes for its members. `members` are in step with the topic; `size` counts those behind too.

    `told` is the offset that filtered members know of.
    """

    __slots__ = ("_hidden", "_openings", "_stamp", "encoder", "members", "size", "told", "topic", "where")

    def __init__(self, topic: Topic, encoder: Encoder, where: Filter | None) -> None:
        self.topic = topic
        self.encoder = encoder
        self.where = where
        self.members: dict[Subscription, None] = {}  # in order of arrival: sockets lie in memory in that order
        self.size = 0
        self.told = topic.flushed
        self._hidden: set[str | None] = set()
        self._openings: dict[Position | None, Opening] = {}
        self._stamp = (-1, 0.0)

    def live(self, messages: Iterable[Message], encoded: dict[int, bytes]) -> list[bytes]:
        """Frames of new messages for the members; `encoded` shares them between filters of one encoder."""
        result = []
        for item in self._chosen(messages, self._hidden):
            frame = None if item.left else encoded.get(item.message.offset)
            if frame is None:
                frame = self._frame(item)
                if not item.left:
                    encoded[item.message.offset] = frame
            result.append(frame)
            self.told = item.message.offset
        return result

    def replay(self, messages: Iterable[Message]) -> list[bytes]:
        """Frames of kept messages for one client that missed them."""
        return [self._frame(item) for item in self._chosen(messages, set())]

    def gap(self, first: int, last: int) -> list[bytes]:
        """Frames that name the lost offsets first..last."""
        return _framed(self.encoder.gap(self.topic, first, last))

    def position(self, offset: int) -> list[bytes]:
        """Frames that tell members of a filtered audience where the stream is."""
        return _framed(self.encoder.position(self.topic, offset)) if self.where else []

    def snapshot(self) -> list[bytes]:
        """Frames of the full state now; none where the family has no snapshot."""
        take = self.topic.family.snapshot
        if take is None:
            return []
        items = take(self.topic.name)
        if self.where is not None:
            items = [item for item in items if self.where.matches(fields_of(item))]
        return _framed(self.encoder.snapshot(self.topic, items))

    def opening(self, resume: Position | None, now: float) -> Opening:
        """What a newcomer gets; made once for newcomers that come together with the same position."""
        stamp, made = self._stamp
        if stamp != self.topic.offset or now - made > OPENING_SECONDS or len(self._openings) >= OPENINGS:
            self._openings.clear()
            self._stamp = (self.topic.offset, now)
        opening = self._openings.get(resume)
        if opening is None:
            opening = self._openings[resume] = self._open(resume)
        return opening

    def subscribed(self, opening: Opening, tag: Any) -> bytes:
        """Frames of the answer to one newcomer."""
        answer = self.encoder.subscribed(self.topic, opening.offset, recovered=opening.recovered, tag=tag)
        return b"".join(_framed(answer))

    def _open(self, resume: Position | None) -> Opening:
        topic = self.topic
        if resume is not None and topic.recovers(resume):
            missed = self.replay(topic.between(resume.offset, topic.offset))
            return Opening(resume.offset, True, b"".join([*missed, *self.position(topic.offset)]))
        lost = self._lost(resume) if resume is not None and topic.family.policy is EVENT else []
        state = self.snapshot()
        return Opening(0 if state else topic.offset, False, b"".join([*lost, *state]))

    def _lost(self, resume: Position) -> list[bytes]:
        same = resume.epoch == self.topic.epoch and resume.offset <= self.topic.offset
        first = resume.offset + 1 if same else 1
        return self.gap(first, self.topic.offset) if first <= self.topic.offset else []

    def _chosen(self, messages: Iterable[Message], hidden: set[str | None]) -> Iterable[Filtered]:
        if self.where is None:
            return (Filtered(message, left=False) for message in messages)
        if self.topic.family.policy is STATE:
            return self.where.states(messages, hidden)
        return self.where.events(messages)

    def _frame(self, item: Filtered) -> bytes:
        encode = self.encoder.left if item.left else self.encoder.message
        return frames.text(encode(self.topic, item.message))


def _framed(payloads: Sequence[bytes]) -> list[bytes]:
    return [frames.text(payload) for payload in payloads]
