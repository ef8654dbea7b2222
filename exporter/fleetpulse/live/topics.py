"""Topics: what was published, kept for a while in order, so that a client may resume where it was cut off.

A topic is the union of its origins' streams. An origin is whoever numbers messages: this process for families in
memory (a random epoch, offsets that grow by one), a journal for journalled ones (its lasting epoch, row ids, which
only grow), be it this replica's or another's. A client's position is the newest offset it has of each origin.

Kept messages lie in one ring in order of arrival, numbered by `seq` without holes, which nobody outside sees. Of
each origin everything after its `floor` is in the ring. Kept messages are bounded by count and age, over all topics
too; the number of topics is bounded.
"""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from fleetpulse.auth import Principal
from fleetpulse.errors import NotFoundError, OverloadedError
from fleetpulse.live.history import History, Page, Stored
from fleetpulse.live.messages import Hole, Mark, Message

if TYPE_CHECKING:
    from fleetpulse.live.audience import Audience, AudienceKey, Subscription

Snapshot = Callable[[str], Sequence[Any]]
Admits = Callable[[Principal, str], bool]
Positions = Mapping[str, int]
"""The newest offset of each origin, by its epoch."""
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
    """A place in one origin's stream."""

    epoch: str
    offset: int


@dataclass(frozen=True, eq=False)
class Family:
    """A kind of topic, declared at start; topics are `name` or `name/rest`.

    `tops` are the newest offsets of a journalled family's origins, of all its topics together; `old` says of those
    whose earlier rows are still to come up to where they are old.
    """

    name: str
    policy: Policy
    snapshot: Snapshot | None
    history: History | None = None
    admits: Admits | None = None
    tops: dict[str, int] = field(default_factory=dict)
    old: dict[str, int] = field(default_factory=dict)


class Origin:
    """One numbered stream within a topic.

    `offset` is the newest; up to `flushed` it has gone out; what comes after `floor` is in the ring; `base` is
    where this process began to hear of it. What comes up to `old` is no news to who did not name a position in it.
    """

    __slots__ = ("base", "epoch", "floor", "flushed", "offset", "old")

    def __init__(self, epoch: str, offset: int, old: int = 0) -> None:
        self.epoch = epoch
        self.offset = self.flushed = self.floor = self.base = offset
        self.old = old

    @property
    def start(self) -> int:
        """The position of who begins to listen now."""
        return max(self.offset, self.old)


class Topic:
    """One topic: kept messages, and the audiences that hear of new ones.

    Everything up to number `flushed` has gone out to the audiences' members that keep up. `claims` are
    subscriptions that named origins which are not known here (yet).
    """

    __slots__ = ("audiences", "claims", "epoch", "family", "flushed", "messages", "name", "origins", "own", "seq")

    def __init__(self, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self.epoch = family.history.epoch if family.history is not None else secrets.token_hex(6)
        self.origins = {
            epoch: Origin(epoch, offset, family.old.get(epoch, 0)) for epoch, offset in family.tops.items()
        }
        self.own = self.origins.setdefault(self.epoch, Origin(self.epoch, 0))
        self.seq = 0
        self.flushed = 0
        self.messages: deque[Message] = deque()
        self.audiences: dict[AudienceKey, Audience] = {}
        self.claims: dict[Subscription, dict[str, int]] = {}

    @property
    def offset(self) -> int:
        """The newest offset of this replica's own stream."""
        return self.own.offset

    @property
    def first(self) -> int:
        """The number of the oldest kept message, or the one to come."""
        return self.seq - len(self.messages) + 1

    @property
    def rest(self) -> str:
        """The name without its family."""
        return self.name.partition("/")[2]

    @property
    def tops(self) -> dict[str, int]:
        """The position of who has everything that was published."""
        return {origin.epoch: origin.offset for origin in self.origins.values()}

    @property
    def starts(self) -> dict[str, int]:
        """The position of who begins to listen now."""
        return {origin.epoch: origin.start for origin in self.origins.values()}

    @property
    def place(self) -> dict[str, int]:
        """The position of who has everything that was flushed."""
        return {origin.epoch: origin.flushed for origin in self.origins.values()}

    def append(
        self, items: Iterable[tuple[str | None, Any]], *, kind: str, at: float, keep: int, origin: str | None = None
    ) -> None:
        """Adds messages of a family in memory, each with the next offset, and forgets the oldest past `keep`."""
        offset = self.own.offset
        messages = self.messages
        begun = len(messages)
        for key, data in items:
            offset += 1
            messages.append(Message(offset, at, kind, key, data, origin))
        self.own.offset = offset
        self._appended(len(messages) - begun, keep)

    def append_rows(self, rows: Iterable[Stored], epoch: str, *, at: float, keep: int) -> None:
        """Adds rows of a journal with their ids, which grow."""
        stream = self.origins[epoch]
        seq = self.seq
        for row in rows:
            seq += 1
            self.messages.append(self.message(row, seq, at, None if epoch == self.epoch else epoch))
            stream.offset = row.offset
        self._appended(seq - self.seq, keep)

    def message(self, row: Stored, seq: int, at: float = 0.0, epoch: str | None = None) -> Message:
        """A row as a message of this topic; on the family's bare topic it says which one it is of."""
        origin = row.topics[0] if row.topics and self.name == self.family.name else None
        key = row.key if origin is None or row.key is None else f"{origin.partition('/')[2]}/{row.key}"
        return Message(row.offset, at if row.at is None else row.at, "event", key, row.data, origin, seq, epoch)

    def recalled(self, page: Page) -> list[Message]:
        """What was read back, in order, numbered by its offsets: rows, and holes where there are none any more."""
        holes: list[Message] = [Hole(*gone, 0.0, gone.offset, self.epoch) for gone in page.gone]
        messages = [self.message(row, row.offset) for row in page.rows]
        return sorted([*messages, *holes], key=attrgetter("offset")) if holes else messages

    def skip(self, stream: Origin, begin: int, offset: int, *, at: float, keep: int) -> None:
        """Notes that another replica's rows `begin` to `offset` will not come: a hole in its stream."""
        self.messages.append(Hole(begin, offset, at, self.seq + 1, stream.epoch))
        stream.offset = offset
        self._appended(1, keep)

    def settle(self, stream: Origin, *, at: float, keep: int) -> None:
        """Notes that all of another replica's old rows have come: from now on everyone is past them."""
        if stream.offset < stream.old:
            self.messages.append(Mark(stream.old, at, self.seq + 1, stream.epoch))
            stream.offset = stream.old
            self._appended(1, keep)
        stream.old = 0

    def prepend(self, rows: Sequence[Stored], after: int) -> None:
        """Puts rows that were read back before the kept messages: all there are in (`after`, floor]."""
        seq = self.first
        for row in reversed(rows):
            seq -= 1
            self.messages.appendleft(self.message(row, seq))
        self.own.floor = after

    def _appended(self, count: int, keep: int) -> None:
        self.seq += count
        if not self.audiences:
            self.flushed = self.seq
            for origin in self.origins.values():
                origin.flushed = origin.offset
        unsent = min(self.seq - self.flushed, MAX_UNSENT)
        for _ in range(len(self.messages) - max(keep, unsent)):
            self._drop()

    def _drop(self) -> None:
        message = self.messages.popleft()
        origin = self.own if message.epoch is None else self.origins[message.epoch]
        origin.floor = message.offset

    def forget(self, before: float) -> None:
        """Forgets flushed messages older than a time."""
        while self.messages and self.messages[0].at < before and self.messages[0].seq <= self.flushed:
            self._drop()

    def between(self, after: int, upto: int) -> list[Message]:
        """The kept messages with numbers in (after, upto]."""
        first = self.first
        return list(islice(self.messages, max(after + 1 - first, 0), max(upto + 1 - first, 0)))

    def reaches(self, seq: int) -> bool:
        """Whether everything after a number is still kept."""
        return self.first <= seq + 1 <= self.seq + 1

    def unseen(self, seen: Positions, after: int, upto: int) -> list[Message]:
        """Of the kept messages with numbers in (after, upto], those that a position does not cover."""
        found: list[Message] = []
        for message in self.between(after, upto):
            known = seen.get(message.epoch or self.epoch, -1)
            if message.offset > known:
                found.append(message.past(known) if isinstance(message, Hole) else message)
        return found


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
        if family.policy is STATE and (family.snapshot is None or family.history is not None):
            raise ValueError(f"state family {family.name!r} needs a snapshot, and no history")
        if family.history is not None:
            family.tops[family.history.epoch] = family.history.newest()
        self._families[family.name] = family

    def family(self, name: str) -> Family:
        """The family of a topic's name; raises NotFoundError."""
        family = self._families.get(name.partition("/")[0])
        if family is None:
            raise NotFoundError(f"no topic {name[:200]!r}; there are {', '.join(sorted(self._families))}")
        return family

    def families(self) -> list[Family]:
        """Every declared family."""
        return list(self._families.values())

    def get(self, name: str) -> Topic | None:
        """A topic in use."""
        return self._topics.get(name)

    def all(self) -> list[Topic]:
        """Every topic in use."""
        return list(self._topics.values())

    def of(self, family: Family) -> list[Topic]:
        """Every topic of a family in use."""
        return [topic for topic in self._topics.values() if topic.family is family]

    def open(self, name: str) -> Topic:
        """The topic, made on first use; raises NotFoundError, or OverloadedError where all have listeners."""
        topic = self._topics.get(name)
        if topic is None:
            family = self.family(name)
            if len(self._topics) >= self._max:
                self._reclaim()
            topic = self._topics[name] = Topic(name, family)
        return topic

    def drop(self, name: str) -> None:
        """Forgets a topic that nobody listens to; its next life has another epoch."""
        self._topics.pop(name, None)

    def _reclaim(self) -> None:
        """Drops the unheard topic that was silent for longest; its next life in memory has another epoch."""
        unheard = [topic for topic in self._topics.values() if not topic.audiences]
        if not unheard:
            raise OverloadedError(f"live.max_topics: {self._max} topics have listeners already", retry_after=60)
        oldest = min(unheard, key=lambda topic: topic.messages[-1].at if topic.messages else 0.0)
        del self._topics[oldest.name]
