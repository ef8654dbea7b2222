"""Delivery: new messages to the clients that keep up, missed ones to those that do not.

A subscription is either in step (a member of its audience: it gets every flush, in bytes made once) or behind.
Who is behind costs no memory: it has a cursor into the topic's kept messages, and gets what it missed once its
buffer has drained: of state topics the newest per key, of event topics everything, or a gap record for what is no
longer kept. Newcomers that are ahead of a flush still to come wait here too.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fleetpulse.config import Live
from fleetpulse.live.audience import Audience, Subscription
from fleetpulse.live.client import Client
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.messages import Message
from fleetpulse.live.meters import Meters
from fleetpulse.live.topics import STATE, Policy, Topic

FLUSH_MESSAGES = 2_000  # of one topic in one flush, so that a burst does not hold the loop
log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Messages to send, which bring a client to offset `end`; `conflated` were left out for newer ones."""

    messages: list[Message]
    end: int
    conflated: int


class Delivery:
    """Owns which topics have something to flush and which subscriptions are behind."""

    def __init__(
        self,
        settings: Live,
        meters: Meters,
        clock: Callable[[], float],
        timer: Callable[[], float],
        fail: Callable[[Client], None],
    ) -> None:
        self._fail = fail
        self._meters = meters
        self._clock = clock
        self._timer = timer
        self._low = settings.conflate_bytes // 2
        self._chunk = max(settings.conflate_bytes, settings.evict_bytes // 4)
        self._dirty: dict[Topic, None] = {}
        self._behind: dict[Subscription, None] = {}
        self._touched: list[Client] = []

    @property
    def unsent(self) -> bool:
        """Whether there is something new to flush."""
        return bool(self._dirty)

    @property
    def waiting(self) -> bool:
        """Whether some subscription is behind."""
        return bool(self._behind)

    def mark(self, topic: Topic) -> None:
        """Notes that a topic with listeners has news."""
        self._dirty[topic] = None

    def add(self, subscription: Subscription) -> None:
        """Takes a newcomer in, whose cursor is the topic's offset."""
        self._behind[subscription] = None
        self._settle(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forgets a subscription."""
        self._behind.pop(subscription, None)
        subscription.audience.members.pop(subscription, None)
        self._unstall(subscription)

    def run(self) -> int:
        """Flushes what is new, then lets those behind catch up; returns how many writes it made."""
        writes, delays = 0, dict[str, float]()
        dirty, self._dirty = self._dirty, {}
        for topic in dirty:
            writes += self._flush(topic, delays)
            if topic.flushed < topic.offset and topic.audiences:
                self._dirty[topic] = None
        for client in self._touched:
            client.release()
        self._touched.clear()
        for family, delay in delays.items():
            self._meters.family(family).delay.observe(delay)
        return writes + self._catch_up()

    def tell_positions(self, topic: Topic) -> None:
        """Tells members of filtered audiences where the stream is, if the last they saw is behind it."""
        for audience in topic.audiences.values():
            if audience.where is not None and audience.told < topic.flushed:
                audience.told = topic.flushed
                data = b"".join(audience.position(topic.flushed))
                for subscription in audience.members:
                    subscription.client.write(data)

    def _flush(self, topic: Topic, delays: dict[str, float]) -> int:
        if not topic.reaches(topic.flushed):
            self._give_up(topic)
        window = topic.between(topic.flushed, topic.flushed + FLUSH_MESSAGES)
        if not window:
            return 0
        name = topic.family.name
        delays[name] = max(delays.get(name, 0.0), self._clock() - window[0].at)
        batch = pick(topic.family.policy, window, self._chunk)
        shared: dict[Encoder, dict[int, bytes]] = {}
        writes = sum(
            self._deliver(audience, batch, shared.setdefault(audience.encoder, {}))
            for audience in topic.audiences.values()
            if audience.members
        )
        topic.flushed = batch.end
        return writes

    def _deliver(self, audience: Audience, batch: Batch, encoded: dict[int, bytes]) -> int:
        """Encodes once, writes to every member; who is slow falls behind."""
        frames = audience.live(batch.messages, encoded)
        if not frames:
            return 0
        buffer, touched = b"".join(frames), self._touched
        slow = [member for member in audience.members if not member.client.offer(buffer, touched)]
        for subscription in slow:
            self._fall_behind(subscription)
        served = len(audience.members)
        meters = self._meters.family(audience.topic.family.name)
        meters.sent.inc(len(frames) * served)
        if batch.conflated:
            meters.conflated.inc(batch.conflated * served)
        return served

    def _fall_behind(self, subscription: Subscription) -> None:
        client = subscription.client
        subscription.audience.members.pop(subscription, None)
        subscription.cursor = subscription.audience.topic.flushed
        subscription.stalled = True
        client.stalled += 1
        if client.slow_since is None:
            client.slow_since = self._timer()
        self._behind[subscription] = None

    def _give_up(self, topic: Topic) -> None:
        """More waits than may: everyone continues from what is kept, through `_catch_up`."""
        for audience in topic.audiences.values():
            for subscription in list(audience.members):
                audience.members.pop(subscription, None)
                subscription.cursor = topic.flushed
                self._behind[subscription] = None
        topic.flushed = topic.first - 1

    def _catch_up(self) -> int:
        writes = 0
        for subscription in list(self._behind):
            if subscription not in self._behind or subscription.client.closed:
                continue
            missed = subscription.cursor < subscription.audience.topic.flushed
            if missed and subscription.client.backlog <= self._low:
                self._try_missed(subscription)
                writes += 1
            if not subscription.client.closed:
                self._settle(subscription)
        return writes

    def _try_missed(self, subscription: Subscription) -> None:
        """A snapshot that fails costs its client the connection, and nobody else anything."""
        try:
            self._send_missed(subscription)
        except Exception:
            log.exception("a client of %s cannot catch up", subscription.audience.topic.name)
            self._fail(subscription.client)

    def _send_missed(self, subscription: Subscription) -> None:
        """Sends the next piece of what a subscription missed, and moves its cursor."""
        audience, client = subscription.audience, subscription.client
        topic = audience.topic
        if topic.family.policy is STATE and not topic.reaches(subscription.cursor):
            meters = self._meters.family(topic.family.name)
            meters.conflated.inc(topic.offset - subscription.cursor)
            client.write_opening(b"".join(audience.snapshot()))
            subscription.cursor = topic.offset
            return
        frames = self._skip_lost(subscription)
        window = topic.between(subscription.cursor, topic.flushed)
        if window:
            batch = pick(topic.family.policy, window, self._chunk)
            frames += self._replay(audience, batch)
            subscription.cursor = batch.end
        client.write(b"".join(frames))

    def _replay(self, audience: Audience, batch: Batch) -> list[bytes]:
        frames = audience.replay(batch.messages)
        meters = self._meters.family(audience.topic.family.name)
        meters.sent.inc(len(frames))
        meters.conflated.inc(batch.conflated)
        return [*frames, *audience.position(batch.end)]

    def _skip_lost(self, subscription: Subscription) -> list[bytes]:
        """Moves an event subscription past what is no longer kept; returns the gap record for it."""
        topic = subscription.audience.topic
        first, last = subscription.cursor + 1, min(topic.first - 1, topic.flushed)
        if last < first:
            return []
        subscription.cursor = last
        self._meters.family(topic.family.name).gapped.inc(last - first + 1)
        return subscription.audience.gap(first, last)

    def _settle(self, subscription: Subscription) -> None:
        """Makes it a member again once it is exactly where the flushes are."""
        if subscription.cursor == subscription.audience.topic.flushed:
            self._behind.pop(subscription, None)
            self._unstall(subscription)
            subscription.audience.members[subscription] = None

    def _unstall(self, subscription: Subscription) -> None:
        if subscription.stalled:
            subscription.stalled = False
            subscription.client.stalled -= 1


def pick(policy: Policy, window: Sequence[Message], most_bytes: int) -> Batch:
    """The next messages of a window that is not empty: of state only the newest per key; as many as fit, or one."""
    messages = newest(window) if policy is STATE else list(window)
    size = 0
    for index, message in enumerate(messages):
        size += len(message.body)
        if size > most_bytes and index:
            messages = messages[:index]
            break
    else:
        return Batch(messages, window[-1].offset, len(window) - len(messages))
    end = messages[-1].offset
    return Batch(messages, end, sum(message.offset <= end for message in window) - len(messages))


def newest(window: Sequence[Message]) -> list[Message]:
    """The newest message of each key and kind, in order; messages without a key all stay.

    Kinds do not replace each other: one may say less than another (`offline` names only the agent).
    """
    last = {(message.key, message.kind): message.offset for message in window}
    return [
        message for message in window if message.key is None or last[message.key, message.kind] == message.offset
    ]
