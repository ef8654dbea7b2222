"""Catching up: subscriptions that are not where the flushes are, until they are again.

Who is behind costs no memory: it has a position in the topic, and gets what it missed once its buffer has drained:
of state topics the newest per key; of event topics everything, from the ring in memory or, where the family has a
history, from there, page by page; or a gap record for what is no longer kept. Newcomers that are ahead of a flush
still to come wait here too, as do those whose position in another replica's stream is ahead of what came here.
"""

import logging
from collections.abc import Callable

from fleetpulse.config import Live
from fleetpulse.live.audience import Audience, Subscription
from fleetpulse.live.batches import Batch, pick
from fleetpulse.live.client import Client
from fleetpulse.live.history import PAGE_ROWS, Page, Pages
from fleetpulse.live.meters import Meters
from fleetpulse.live.topics import STATE, Origin, Topic
from fleetpulse.live.wires import Places

log = logging.getLogger(__name__)


class CatchUp:
    """Owns which subscriptions are behind."""

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        settings: Live,
        meters: Meters,
        pages: Pages,
        keep: Callable[[], int],
        timer: Callable[[], float],
        fail: Callable[[Client], None],
    ) -> None:
        """`fail` closes a client; `keep` says how many messages a topic may keep now."""
        self._fail = fail
        self._keep = keep
        self._pages = pages
        self._meters = meters
        self._timer = timer
        self._low = settings.conflate_bytes // 2
        self._chunk = most_bytes(settings)
        self._behind: dict[Subscription, None] = {}

    @property
    def waiting(self) -> bool:
        """Whether some subscription is behind."""
        return bool(self._behind)

    def of(self, topic: Topic) -> list[Subscription]:
        """The subscriptions to a topic that are behind."""
        return [each for each in self._behind if each.audience.topic is topic]

    def add(self, subscription: Subscription) -> None:
        """Takes a newcomer in, whose cursor is the topic's newest message, or which has to catch up."""
        self._behind[subscription] = None
        self.step_out(subscription)
        self._settle(subscription)

    def hold(self, subscription: Subscription, seen: dict[str, int]) -> None:
        """Takes a member out of step, as its position in some origin is another than the others'."""
        self.step_out(subscription)
        subscription.seen.update(seen)

    def told(self, subscription: Subscription, epoch: str, offset: int) -> None:
        """A subscription was told of everything up to an offset of some origin; members are there already."""
        if subscription in self._behind:
            subscription.seen[epoch] = offset

    def remove(self, subscription: Subscription) -> None:
        """Forgets a subscription."""
        self._behind.pop(subscription, None)
        subscription.audience.members.pop(subscription, None)
        self._unstall(subscription)

    def count(self, audience: Audience, messages: int) -> None:
        """Notes that messages were sent to members of an audience."""
        self._meters.family(audience.topic.family.name).sent.inc(messages)
        if audience.encoder.sends is not None:
            audience.encoder.sends.sent += messages

    def places(self, client: Client) -> Places:
        """Where a client stands in each of its topics."""
        return {name: self.place(subscription) for name, subscription in client.subscriptions.items()}

    def place(self, subscription: Subscription) -> dict[str, int]:
        """Where a subscription stands."""
        topic = subscription.audience.topic
        return dict(subscription.seen) if subscription in self._behind else topic.place

    def fall_behind(self, subscription: Subscription) -> None:
        """A client is too slow for a flush: it misses it."""
        client = subscription.client
        self.step_out(subscription)
        subscription.stalled = True
        client.stalled += 1
        if client.slow_since is None:
            client.slow_since = self._timer()

    def step_out(self, subscription: Subscription) -> None:
        """It is where the flushes are, and stays there. Of a stamped connection all are in step, or none."""
        stamped = subscription.audience.wire.stamped
        for each in subscription.client.subscriptions.values() if stamped else (subscription,):
            if each not in self._behind:
                topic = each.audience.topic
                each.audience.members.pop(each, None)
                each.cursor, each.seen = topic.flushed, topic.place
                self._behind[each] = None

    def run(self) -> int:
        """Sends those that can take more the next piece of what they missed; returns how many writes it made."""
        writes = 0
        for subscription in list(self._behind):
            if subscription not in self._behind or subscription.client.closed or subscription.reading:
                continue
            missed = subscription.lacks or subscription.cursor < subscription.audience.topic.flushed
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
        """Sends the next piece of what a subscription missed, and moves its position."""
        topic = subscription.audience.topic
        state = topic.family.policy is STATE
        if state and not topic.reaches(subscription.cursor):
            self._send_state(subscription)
            return
        if not state and self._lacks(subscription):
            self._read(subscription)
            return
        frames = [] if state else self._skip_lost(subscription)
        window = topic.unseen(subscription.seen, subscription.cursor, topic.flushed)
        if window:
            batch = pick(topic.family.policy, window, self._chunk)
            frames += self._replay(subscription, batch)
        if not window or window[-1].seq == subscription.cursor:
            subscription.cursor = max(subscription.cursor, topic.flushed)
        _write(subscription, frames)

    def _send_state(self, subscription: Subscription) -> None:
        topic = subscription.audience.topic
        self._meters.family(topic.family.name).conflated.inc(topic.seq - subscription.cursor)
        subscription.cursor, subscription.seen = topic.seq, topic.tops
        places = self.places(subscription.client) if subscription.audience.wire.stamped else None
        frames = subscription.audience.snapshot(places)
        self.count(subscription.audience, len(frames))
        snapshot = b"".join(frames)
        subscription.recent += len(snapshot)
        subscription.client.write_opening(snapshot)

    def _replay(self, subscription: Subscription, batch: Batch) -> list[bytes]:
        """Frames of some messages, after which the subscription is where they end."""
        audience, seen = subscription.audience, subscription.seen
        stamped = audience.wire.stamped
        frames = audience.replay(batch.messages, self.places(subscription.client) if stamped else None)
        for message in batch.messages:
            seen[message.epoch or audience.topic.epoch] = message.offset
        subscription.cursor = batch.end
        self.count(audience, len(frames))
        self._meters.family(audience.topic.family.name).conflated.inc(batch.conflated)
        return [*frames, *(audience.receipts(batch.messages) if frames else ()), *audience.position(seen)]

    def _lacks(self, subscription: Subscription) -> bool:
        """Whether rows are missing that only the history has."""
        topic = subscription.audience.topic
        subscription.lacks = False
        return topic.family.history is not None and subscription.seen.get(topic.epoch, 0) < topic.own.floor

    def _skip_lost(self, subscription: Subscription) -> list[bytes]:
        """Moves an event subscription past what is no longer kept; returns the gap records for it."""
        topic, seen = subscription.audience.topic, subscription.seen
        if subscription.cursor < topic.first - 1:
            subscription.cursor = min(topic.first - 1, topic.flushed)
        frames: list[bytes] = []
        for origin in topic.origins.values():
            frames += self._gap(subscription, origin, seen.get(origin.epoch, origin.base), origin.floor)
        return frames

    def _gap(self, subscription: Subscription, origin: Origin, first: int, last: int) -> list[bytes]:
        """A gap record for an origin's (first, last], if it is one; the subscription is past it then."""
        if last <= first:
            return []
        subscription.seen[origin.epoch] = last
        self._meters.family(subscription.audience.topic.family.name).gapped.inc(last - first)
        return subscription.audience.gap(origin.epoch, first + 1, last)

    # History -------------------------------------------------------------------------------------------------
    def _read(self, subscription: Subscription) -> None:
        """Asks for the next page of what is in the history only."""
        topic = subscription.audience.topic
        history = topic.family.history
        assert history is not None  # noqa: S101 - `_lacks` says so
        name, after, upto = topic.name, subscription.seen.get(topic.epoch, 0), topic.own.floor
        subscription.lacks = subscription.reading = True
        self._pages.read(
            lambda: history.after(name, after, upto, PAGE_ROWS),
            lambda page: self._have_read(subscription, page, after, upto),
        )

    def _have_read(self, subscription: Subscription, page: Page | None, after: int, upto: int) -> None:
        subscription.reading = False
        if subscription.client.closed or subscription not in self._behind:
            return
        if page is None:
            self._fail(subscription.client)
            return
        topic = subscription.audience.topic
        frames = self._gap(subscription, topic.own, after, min(page.floor, upto))
        messages = topic.recalled(page)
        reached = page.upto
        if messages:
            batch = pick(topic.family.policy, messages, self._chunk)
            frames += self._replay(subscription, batch)
            if len(batch.messages) < len(messages):
                reached = batch.end
        subscription.seen[topic.epoch] = max(subscription.seen[topic.epoch], reached)
        subscription.cursor = topic.first - 1
        if reached == topic.own.floor and page.floor <= after and not page.gone:
            self._put_back(topic, page, after)
        _write(subscription, frames)

    def _put_back(self, topic: Topic, page: Page, after: int) -> None:
        """Keeps what was read while there is room, so that others who missed the same need not read it."""
        if len(topic.messages) + len(page.rows) > self._keep():
            return
        topic.prepend(page.rows, after)
        for subscription in self._behind:
            if subscription.audience.topic is topic:
                subscription.cursor = min(subscription.cursor, topic.first - 1)

    def _settle(self, subscription: Subscription) -> None:
        """Makes it a member again once it is exactly where the flushes are."""
        client, stamped = subscription.client, subscription.audience.wire.stamped
        all_of_it = list(client.subscriptions.values()) if stamped else [subscription]
        if not all(map(_is_in_step, all_of_it)):
            return
        for each in all_of_it:
            if self._behind.pop(each, each) is None:
                self._unstall(each)
                each.audience.members[each] = None

    def _unstall(self, subscription: Subscription) -> None:
        if subscription.stalled:
            subscription.stalled = False
            subscription.client.stalled -= 1


def _write(subscription: Subscription, frames: list[bytes]) -> None:
    """Writes to one client alone."""
    data = b"".join(frames)
    subscription.recent += len(data)
    subscription.client.write(data)


def _is_in_step(subscription: Subscription) -> bool:
    topic, seen = subscription.audience.topic, subscription.seen
    if subscription.lacks or subscription.cursor != topic.flushed:
        return False
    return all(seen.get(origin.epoch, 0) <= origin.flushed for origin in topic.origins.values())


def most_bytes(settings: Live) -> int:
    """What one client is sent at once, at most."""
    return max(settings.conflate_bytes, settings.evict_bytes // 4)
