"""Topics: what was published, kept for a while in order, so that a client may resume where it was cut off.

A topic's position is {epoch, offset}: the offset grows by one with every message; the epoch is drawn anew whenever
the kept messages are lost, so that an old offset is never taken for a new one. Kept messages are bounded by count
and age, over all topics too; the number of topics is bounded.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from fleetpulse.errors import NotFoundError, OverloadedError
from fleetpulse.live.messages import Message

if TYPE_CHECKING:
    from fleetpulse.live.audience import Audience, AudienceKey

Snapshot = Callable[[str], Sequence[Any]]
MAX_UNSENT = 16_384  # messages that may wait for a flush; past it the oldest are given up, with a gap record
MAX_KEPT = 100_000  # messages kept over all topics
LEAST_KEPT = 64


class Policy(Enum):
    """What a slow client may miss: of STATE all but the newest per key; of EVENT nothing, unless it is told."""

    STATE = "state"
    EVENT = "event"


STATE = Policy.STATE
EVENT = Policy.EVENT


class Position(NamedTuple):
    """A place in a topic's stream."""

    epoch: str
    offset: int


@dataclass(frozen=True)
class Family:
    """A kind of topic, declared at start; topics are `name` or `name/rest`."""

    name: str
    policy: Policy
    snapshot: Snapshot | None


class Topic:
    """One topic: kept messages, and the audiences that hear of new ones.

    Everything up to offset `flushed` has gone out to the audiences' members that keep up.
    """

    __slots__ = ("audiences", "epoch", "family", "flushed", "messages", "name", "offset")

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self.epoch = secrets.token_hex(6)
        self.offset = 0
        self.flushed = 0
        self.messages: deque[Message] = deque()
        self.audiences: dict[AudienceKey, Audience] = {}

    @property
    def first(self) -> int:
        """The offset of the oldest kept message, or the one to come."""
        return self.offset - len(self.messages) + 1

    @property
    def rest(self) -> str:
        """The name without its family."""
        return self.name.partition("/")[2]

    def append(
        self, items: Iterable[tuple[str | None, Any]], *, kind: str, at: float, keep: int, origin: str | None = None
    ) -> None:
        """Adds messages in order and forgets the oldest past `keep`, those still to be flushed excepted."""
        offset = self.offset
        messages = self.messages
        for key, data in items:
            offset += 1
            messages.append(Message(offset, at, kind, key, data, origin))
        self.offset = offset
        if not self.audiences:
            self.flushed = offset
        unsent = min(offset - self.flushed, MAX_UNSENT)
        for _ in range(len(messages) - max(keep, unsent)):
            messages.popleft()

    def forget(self, before: float) -> None:
        """Forgets flushed messages older than a time."""
        messages = self.messages
        while messages and messages[0].at < before and messages[0].offset <= self.flushed:
            messages.popleft()

    def between(self, after: int, upto: int) -> list[Message]:
        """The kept messages with offsets in (after, upto]."""
        start = max(after + 1 - self.first, 0)
        return list(islice(self.messages, start, upto + 1 - self.first))

    def reaches(self, offset: int) -> bool:
        """Whether everything after `offset` is still kept."""
        return self.first <= offset + 1 <= self.offset + 1

    def recovers(self, position: Position) -> bool:
        """Whether a client at this position can be given exactly what it missed (Centrifuge's rule).

        On a state topic offset 0 means that the client never had the snapshot, which messages cannot replace.
        """
        begun = position.offset > 0 or self.family.policy is EVENT
        return position.epoch == self.epoch and begun and self.reaches(position.offset)


class Topics:
    """The declared families and the topics in use."""

    def __init__(self, max_topics: int, history: int) -> None:
        self._max = max_topics
        self._history = history
        self._families: dict[str, Family] = {}
        self._topics: dict[str, Topic] = {}

    @property
    def keep(self) -> int:
        """How many messages a topic may keep now: its setting, or its share where topics are many."""
        return min(self._history, max(LEAST_KEPT, MAX_KEPT // max(len(self._topics), 1)))

    def declare(self, family: Family) -> None:
        """Adds a family; once, before anything is published to it."""
        if "/" in family.name or family.name in self._families:
            raise ValueError(f"topic family {family.name!r} is declared twice or has a slash")
        if family.policy is STATE and family.snapshot is None:
            raise ValueError(f"state family {family.name!r} needs a snapshot")
        self._families[family.name] = family

    def family(self, name: str) -> Family:
        """The family of a topic's name; raises NotFoundError."""
        family = self._families.get(name.partition("/")[0])
        if family is None:
            raise NotFoundError(f"no topic {name[:200]!r}; there are {', '.join(sorted(self._families))}")
        return family

    def get(self, name: str) -> Topic | None:
        """A topic in use."""
        return self._topics.get(name)

    def all(self) -> list[Topic]:
        """Every topic in use."""
        return list(self._topics.values())

    def open(self, name: str) -> Topic:
        """The topic, made on first use; raises NotFoundError, or OverloadedError where all have listeners."""
        topic = self._topics.get(name)
        if topic is None:
            family = self.family(name)
            if len(self._topics) >= self._max:
                self._reclaim()
            topic = self._topics[name] = Topic(name, family)
        return topic

    def _reclaim(self) -> None:
        """Drops the unheard topic that was silent for longest; its next life has another epoch."""
        unheard = [topic for topic in self._topics.values() if not topic.audiences]
        if not unheard:
            raise OverloadedError(f"live.max_topics: {self._max} topics have listeners already", retry_after=60)
        oldest = min(unheard, key=lambda topic: topic.messages[-1].at if topic.messages else 0.0)
        del self._topics[oldest.name]
