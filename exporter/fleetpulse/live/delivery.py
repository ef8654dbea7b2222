"""Delivery: new messages to the clients that keep up, missed ones to those that do not.

A subscription is either in step (a member of its audience: it gets every flush, in bytes made once) or behind
(`CatchUp`).
"""

from collections.abc import Callable

from fleetpulse.config import Live
from fleetpulse.live.audience import Audience, Subscription
from fleetpulse.live.batches import Batch, pick
from fleetpulse.live.catching_up import CatchUp, most_bytes
from fleetpulse.live.client import Client
from fleetpulse.live.history import Pages
from fleetpulse.live.meters import Meters
from fleetpulse.live.topics import Topic
from fleetpulse.live.wires import Places

TURN_WRITES = 1_000  # about 10 ms
FLUSH_MESSAGES = 2_000  # of one topic in one flush, so that a burst does not hold the loop


class Delivery:
    """Owns which topics have something to flush."""

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        settings: Live,
        meters: Meters,
        pages: Pages,
        keep: Callable[[], int],
        clock: Callable[[], float],
        timer: Callable[[], float],
        fail: Callable[[Client], None],
    ) -> None:
        """`fail` closes a client; `keep` says how many messages a topic may keep now."""
        self.catching_up = CatchUp(settings, meters, pages, keep, timer, fail)
        self._meters = meters
        self._clock = clock
        self._chunk = most_bytes(settings)
        self._dirty: dict[Topic, None] = {}
        self._touched: list[Client] = []

    @property
    def unsent(self) -> bool:
        """Whether there is something new to flush."""
        return bool(self._dirty)

    @property
    def waiting(self) -> bool:
        """Whether some subscription is behind."""
        return self.catching_up.waiting

    def mark(self, topic: Topic) -> None:
        """Notes that a topic with listeners has news."""
        self._dirty[topic] = None

    def run(self) -> int:
        """Flushes what is new, then lets those behind catch up; returns how many writes it made.

        Topics take turns: after TURN_WRITES the rest of them wait for the next call; ingest goes on between.
        """
        writes, delays = 0, dict[str, float]()
        for topic in list(self._dirty):
            if writes >= TURN_WRITES:
                break
            del self._dirty[topic]
            writes += self._flush(topic, delays)
            if topic.flushed < topic.seq:  # also where nobody listens now: who comes next begins after it
                self._dirty[topic] = None
        for client in self._touched:
            client.release()
        self._touched.clear()
        for family, delay in delays.items():
            self._meters.family(family).delay.observe(delay)
        return writes + self.catching_up.run()

    def listeners(self, topic: Topic) -> list[Subscription]:
        """Every subscription to a topic, in step or not."""
        members = [member for audience in topic.audiences.values() for member in audience.members]
        return members + self.catching_up.of(topic)

    def tell_positions(self, topic: Topic) -> None:
        """Tells members of filtered audiences where the stream is, if the last they saw is behind it."""
        for audience in topic.audiences.values():
            if audience.where is not None and audience.told < topic.flushed:
                audience.told = topic.flushed
                self._tell(audience)

    def tell_origin(self, topic: Topic) -> None:
        """Tells every member where the stream is, as there is a new origin."""
        for audience in topic.audiences.values():
            self._tell(audience)

    def tell_one(self, subscription: Subscription) -> None:
        """Tells a subscription where it stands."""
        audience, client = subscription.audience, subscription.client
        places = self.catching_up.places(client) if audience.wire.stamped else None
        client.write(b"".join(audience.tell(self.catching_up.place(subscription), places)))

    def _tell(self, audience: Audience) -> None:
        if audience.members:
            data = b"".join(audience.tell(audience.topic.place, self._places_of(audience)))
            for subscription in audience.members:
                subscription.client.write(data)

    def _places_of(self, audience: Audience) -> Places | None:
        """Where the members stand: the same place for all, as they have the same topics and are in step in each."""
        return self.catching_up.places(next(iter(audience.members)).client) if audience.wire.stamped else None

    def _flush(self, topic: Topic, delays: dict[str, float]) -> int:
        if not topic.reaches(topic.flushed):
            self._give_up(topic)
        window = topic.between(topic.flushed, topic.flushed + FLUSH_MESSAGES)
        if not window:
            return 0
        name = topic.family.name
        delays[name] = max(delays.get(name, 0.0), self._clock() - window[0].at)
        batch = pick(topic.family.policy, window, self._chunk)
        shared: dict[object, dict[int, bytes]] = {}
        writes = sum(
            self._deliver(audience, batch, shared.setdefault((audience.encoder, audience.wire), {}))
            for audience in topic.audiences.values()
            if audience.members
        )
        _flushed(topic, batch)
        return writes

    def _deliver(self, audience: Audience, batch: Batch, encoded: dict[int, bytes]) -> int:
        """Encodes once, writes to every member; who is slow falls behind."""
        frames = audience.live(batch.messages, encoded, self._places_of(audience))
        if not frames:
            return 0
        buffer, touched = b"".join([*frames, *audience.receipts(batch.messages)]), self._touched
        audience.recent += len(buffer)
        slow = [member for member in audience.members if not member.client.offer(buffer, touched)]
        for subscription in slow:
            self.catching_up.fall_behind(subscription)
        served = len(audience.members)
        self.catching_up.count(audience, len(frames) * served)
        if batch.conflated:
            self._meters.family(audience.topic.family.name).conflated.inc(batch.conflated * served)
        return served

    def _give_up(self, topic: Topic) -> None:
        """More waits than may: everyone continues from what is kept, through `_catch_up`."""
        for audience in topic.audiences.values():
            for subscription in list(audience.members):
                self.catching_up.step_out(subscription)
        topic.flushed = topic.first - 1
        for origin in topic.origins.values():
            origin.flushed = max(origin.flushed, origin.floor)


def _flushed(topic: Topic, batch: Batch) -> None:
    """Notes that a batch has gone out."""
    topic.flushed = batch.end
    if len(topic.origins) == 1:
        topic.own.flushed = batch.messages[-1].offset
        return
    for message in batch.messages:
        topic.origins[message.epoch or topic.epoch].flushed = message.offset
