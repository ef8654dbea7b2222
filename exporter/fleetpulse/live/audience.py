"""Audiences: the subscriptions to one topic that see the same bytes: encoder, filter and wire are the same."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fleetpulse.live.client import Client
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.filters import Filter, Filtered
from fleetpulse.live.messages import Hole, Mark, Message, fields_of
from fleetpulse.live.topics import STATE, Positions, Topic
from fleetpulse.live.wires import Places, Wire

AudienceKey = tuple[Encoder, Filter | None, Wire]
OPENING_SECONDS = 1.0  # how long the bytes for newcomers are shared while nothing new is published
OPENINGS = 8


class Opening(NamedTuple):
    """What a newcomer gets before the live stream.

    `begun` is where it stands before `frames`, `seen` after them. `behind`: what is missing is read from the
    history. `messages` is how many the frames are.
    """

    begun: Positions
    recovered: bool
    frames: bytes
    seen: dict[str, int]
    behind: bool = False
    messages: int = 0


class Subscription:
    """One client's place in one audience.

    `cursor` and `seen` count only while the client is not in step (`Delivery`): it has everything up to the message
    numbered `cursor`, and of each origin everything up to `seen`. `lacks`: the history has to be read first.
    `recent` are bytes written to this client alone, and fade (`live/backlog.py`).
    """

    __slots__ = ("audience", "client", "cursor", "lacks", "reading", "recent", "seen", "stalled")

    def __init__(self, client: Client, audience: "Audience", cursor: int, seen: dict[str, int]) -> None:
        self.client = client
        self.audience = audience
        self.cursor = cursor
        self.seen = seen
        self.stalled = False
        self.lacks = False
        self.reading = False
        self.recent = 0.0


class Audience:
    """Encodes for its members. `members` are in step with the topic; `size` counts those behind too.

    `told` is the number of the message that filtered members know of. `recent` are bytes written to each member,
    and fade (`live/backlog.py`).
    """

    __slots__ = (
        "_hidden",
        "_openings",
        "_stamp",
        "encoder",
        "members",
        "recent",
        "size",
        "told",
        "topic",
        "where",
        "wire",
    )

    def __init__(self, topic: Topic, encoder: Encoder, where: Filter | None, wire: Wire) -> None:
        self.topic = topic
        self.encoder = encoder
        self.where = where
        self.wire = wire
        self.members: dict[Subscription, None] = {}  # in order of arrival: sockets lie in memory in that order
        self.size = 0
        self.recent = 0.0
        self.told = topic.flushed
        self._hidden: set[str | None] = set()
        self._openings: dict[tuple[tuple[str, int], ...] | None, Opening] = {}
        self._stamp = (-1, -1, 0.0)

    @property
    def key(self) -> AudienceKey:
        """What its members have in common."""
        return self.encoder, self.where, self.wire

    def live(self, messages: Sequence[Message], encoded: dict[int, bytes], places: Places | None) -> list[bytes]:
        """Frames of new messages for the members; `encoded` shares them between filters of one encoder and wire."""
        result = []
        trail = _trail(places, self.topic, messages)
        for item in self._chosen(messages, self._hidden):
            message = item.message
            frame = None if item.left else encoded.get(message.seq)
            if frame is None:
                frame = self._frame(item, trail)
                if not item.left:
                    encoded[message.seq] = frame
            result.append(frame)
            self.told = message.seq
        return result

    def replay(self, messages: Sequence[Message], places: Places | None) -> list[bytes]:
        """Frames of kept messages for one client that missed them."""
        trail = _trail(places, self.topic, messages)
        return [self._frame(item, trail) for item in self._chosen(messages, set())]

    def receipts(self, messages: Sequence[Message]) -> list[bytes]:
        """Frames that ask for the receipt of messages, after theirs."""
        if not self.encoder.receipts:
            return []
        topic = self.topic
        newest = {each.epoch or topic.epoch: each.offset for each in messages if not isinstance(each, Hole)}
        return [self.wire.ping(self.encoder.receipt(topic, epoch, offset)) for epoch, offset in newest.items()]

    def gap(self, epoch: str, first: int, last: int) -> list[bytes]:
        """Frames that name the lost offsets first..last of an origin."""
        return self.framed(self.encoder.gap(self.topic, epoch, first, last))

    def position(self, positions: Positions) -> list[bytes]:
        """Frames that tell members of a filtered audience where the stream is."""
        return self.tell(positions) if self.where else []

    def tell(self, positions: Positions, places: Places | None = None) -> list[bytes]:
        """Frames that tell where the stream is."""
        return self.framed(self.encoder.position(self.topic, positions), places)

    def snapshot(self, places: Places | None = None) -> list[bytes]:
        """Frames of the full state now; none where the family has no snapshot."""
        take = self.topic.family.snapshot
        if take is None:
            return []
        items = take(self.topic.name)
        if self.where is not None:
            items = [item for item in items if self.where.matches(fields_of(item))]
        return self.framed(self.encoder.snapshot(self.topic, items), places)

    def opening(self, resume: Mapping[str, int] | None, now: float) -> Opening:
        """What a newcomer gets; made once for newcomers that come together with the same position."""
        seq, floor, made = self._stamp
        topic = self.topic
        if (
            (seq, floor) != (topic.seq, topic.first)
            or now - made > OPENING_SECONDS
            or len(self._openings) >= OPENINGS
        ):
            self._openings.clear()
            self._stamp = (topic.seq, topic.first, now)
        key = None if resume is None else tuple(sorted(resume.items()))
        opening = self._openings.get(key)
        if opening is None:
            opening = self._openings[key] = self._open(resume)
        return opening

    def forget_openings(self) -> None:
        """Newcomers get something else from now on: the topic has one more origin."""
        self._openings.clear()

    def subscribed(self, opening: Opening, tag: Any) -> bytes:
        """Frames of the answer to one newcomer."""
        answer = self.encoder.subscribed(self.topic, opening.begun, recovered=opening.recovered, tag=tag)
        return b"".join(self.framed(answer))

    def framed(self, payloads: Sequence[bytes], places: Places | None = None) -> list[bytes]:
        """Payloads as the wire has them."""
        return [self.wire.frame(payload, places) for payload in payloads]

    def _open(self, resume: Mapping[str, int] | None) -> Opening:
        if resume is None:
            return self._afresh([])
        return self._state(resume) if self.topic.family.policy is STATE else self._events(resume)

    def _afresh(self, lost: list[bytes]) -> Opening:
        topic = self.topic
        state = self.snapshot()
        frames = b"".join([*lost, *state])
        return Opening({} if state else topic.starts, False, frames, topic.starts, messages=len(state))

    def _state(self, resume: Mapping[str, int]) -> Opening:
        """On a state topic offset 0 means that the client never had the snapshot, which messages cannot replace."""
        topic = self.topic
        offset = resume.get(topic.epoch, 0)
        if not 0 < offset <= topic.offset or offset < topic.own.floor:
            return self._afresh([])
        return self._caught_up({topic.epoch: offset}, {topic.epoch: offset}, [])

    def _events(self, resume: Mapping[str, int]) -> Opening:
        topic = self.topic
        begun = dict[str, int]()
        lost: list[bytes] = []
        for origin in topic.origins.values():
            at = resume.get(origin.epoch)
            if at is None or (at > origin.offset and origin is topic.own):
                at = 0 if origin is topic.own else origin.base
                if origin is topic.own:
                    lost += self._lost(origin.epoch, at, origin.offset)
                    at = origin.offset
            begun[origin.epoch] = at
        if not resume.keys() & begun.keys() or resume.get(topic.epoch, 0) > topic.offset:
            return self._afresh(lost)
        return self._missed(begun, lost)

    def _missed(self, begun: dict[str, int], lost: list[bytes]) -> Opening:
        """What is gone is named; the rest is in the ring, or the history."""
        topic = self.topic
        seen = dict(begun)
        behind = False
        for origin in topic.origins.values():
            gone = origin.floor
            if origin is topic.own and topic.family.history is not None:
                behind = seen[origin.epoch] < gone
                gone = min(gone, topic.family.history.floor(topic.name))
            if seen[origin.epoch] < gone:
                lost += self._lost(origin.epoch, seen[origin.epoch], gone)
                seen[origin.epoch] = gone
        if behind:
            return Opening(begun, not lost, b"".join(lost), seen, behind=True)
        return self._caught_up(begun, seen, lost)

    def _caught_up(self, begun: Positions, seen: dict[str, int], lost: list[bytes]) -> Opening:
        """All in the ring that is not seen yet; stamped messages differ by client, so they wait (`Delivery`)."""
        topic = self.topic
        if self.wire.stamped:
            return Opening(begun, not lost, b"".join(lost), seen, behind=True)
        unseen = topic.unseen(seen, topic.first - 1, topic.seq)
        missed = self.replay(unseen, None)
        now = {epoch: max(offset, seen.get(epoch, 0)) for epoch, offset in topic.tops.items()}
        frames = b"".join([*lost, *missed, *self.receipts(unseen), *self.position(now)])
        return Opening(begun, not lost, frames, now, messages=len(missed))

    def _lost(self, epoch: str, seen: int, upto: int) -> list[bytes]:
        return self.gap(epoch, seen + 1, upto) if seen < upto else []

    def _chosen(self, messages: Iterable[Message], hidden: set[str | None]) -> Iterable[Filtered]:
        if self.where is None:
            return (Filtered(message, left=False) for message in messages)
        if self.topic.family.policy is STATE:
            return self.where.states(messages, hidden)
        return self.where.events(messages)

    def _frame(self, item: Filtered, trail: Mapping[int, Places]) -> bytes:
        message = item.message
        if isinstance(message, Mark):
            return b"".join(self.tell({str(message.epoch): message.offset}, trail.get(message.seq)))
        if isinstance(message, Hole):
            return b"".join(self.gap(str(message.epoch), message.begin, message.offset))
        encode = self.encoder.left if item.left else self.encoder.message
        return self.wire.frame(encode(self.topic, message), trail.get(message.seq))


def _trail(places: Places | None, topic: Topic, messages: Iterable[Message]) -> Mapping[int, Places]:
    """Where a client stands after each message, by the message's number; nothing where nobody asks."""
    if places is None:
        return {}
    trail, here = {}, dict(places.get(topic.name, {}))
    for message in messages:
        here[message.epoch or topic.epoch] = message.offset
        trail[message.seq] = {**places, topic.name: dict(here)}
    return trail
