"""The hub: everything live passes here. Publishers hand messages in, connections subscribe to topics.

Promises, per subscription: offsets of an origin only grow; a state topic's client ends with the newest state of
every key; an event topic's client gets every event or a gap record that names the missing ones; a resume gives
exactly what was missed, or says what it cannot give: by gap records, or a full snapshot with its position. A client
that stays slow or silent is closed, and `abort` frees its buffer. Publishing costs no serialisation while nobody
listens, and never waits.

Families in memory are published to by `publish`: their positions end with this process. Journalled families are
published to by `publish_rows`, after the commit: their positions are the journal's, and outlive it; other replicas'
rows come in by the same door, under their own epochs.

Everything here runs on the event loop's thread, in synchronous steps: that is what makes a snapshot and the
registration after it one thing. It knows no HTTP: a connection is a `Transport`.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import orjson

from fleetpulse.auth import Principal
from fleetpulse.config import Live
from fleetpulse.errors import ForbiddenError, InvalidInputError, NotFoundError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.live.audience import Audience, Subscription
from fleetpulse.live.backlog import FADING, fade, shares
from fleetpulse.live.client import Client, Transport
from fleetpulse.live.closing import Cause
from fleetpulse.live.delivery import Delivery
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.filters import Filter
from fleetpulse.live.health import Health
from fleetpulse.live.history import History, Pages, Stored
from fleetpulse.live.limits import Seats, TokenBucket
from fleetpulse.live.meters import Meters
from fleetpulse.live.publishing import Publisher
from fleetpulse.live.timers import BURST_SECONDS, DRAIN_SECONDS, Timers
from fleetpulse.live.topics import EVENT, Admits, Family, Policy, Position, Snapshot, Topic, Topics
from fleetpulse.live.wires import WEBSOCKET, Places, Wire

CLOSE_SECONDS = 2.0  # how long a client may take to answer a close before its transport is aborted


class Hub:
    """Topics, connections and the timers between them. `clock` tells the time of day, `timer` durations."""

    def __init__(
        self,
        settings: Live,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._settings = settings
        self._timer = timer
        self._meters = Meters(instruments)
        self._topics = Topics(settings.max_topics, settings.history_messages)
        self._seats = Seats(settings.max_connections, settings.max_connections_per_ip)
        self._pages = Pages()
        self._delivery = Delivery(
            settings,
            self._meters,
            self._pages,
            lambda: self._topics.keep,
            clock,
            timer,
            lambda client: self.close(client, Cause.FAILED),
        )
        self._health = Health(settings, clock)
        self._timers = Timers(self.flush, self._flush_due, self.sweep, self._health.interval)
        self._publisher = Publisher(
            self._topics, self._meters, self._delivery, self._timers.ask, settings.flush_seconds, clock
        )
        self._clients: set[Client] = set()
        self._closing: dict[Transport, float] = {}
        self._gone = asyncio.Event()

    # Lifecycle -----------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Starts the timers on the running loop. What was published before is kept for resuming as well."""
        self._pages.start()
        self._timers.start()

    async def stop(self) -> None:
        """Refuses newcomers, sends what is pending, closes everyone with 1001 and waits a bounded time for them."""
        self._seats.closed = True
        while self._delivery.unsent:
            self.flush()
        for client in list(self._clients):
            self.close(client, Cause.SHUTDOWN)
        await self._until_gone()
        for transport in self._closing:
            _abort(transport)
        self._closing.clear()
        self._timers.stop()
        self._pages.stop()

    # Publishing ----------------------------------------------------------------------------------------------
    def declare(
        self,
        family: str,
        policy: Policy,
        snapshot: Snapshot | None = None,
        *,
        history: History | None = None,
        admits: Admits | None = None,
    ) -> None:
        """Declares a topic family before anything is published to it.

        `snapshot(topic)` gives the full state of a topic at once, the newest last; for the bare name of a family
        with sub-topics, that of all of them. State families need one. With a `history` the family is journalled:
        only `publish_rows` publishes to it. `admits(principal, topic)` says who may subscribe; without it, whoever
        may connect.
        """
        self._topics.declare(Family(family, policy, snapshot, history, admits))

    def publish(self, topic: str, data: Any, *, key: str | None = None, kind: str = "event") -> None:
        """Tells a topic's listeners one thing; see `publish_many`."""
        self.publish_many(topic, ((key, data),), kind=kind)

    def publish_many(self, topic: str, items: Collection[tuple[str | None, Any]], *, kind: str = "event") -> None:
        """Tells a topic's listeners many things in order; never waits, and encodes nothing now.

        `data` may be anything JSON, an object with `as_json()`, a pydantic model or a dataclass, and is the hub's
        from here on. On state topics `key` names what the data is the newest state of. Raises NotFoundError for a
        family that was not declared, ValueError for one that is journalled.
        """
        self._publisher.publish_many(topic, items, kind=kind)

    def publish_numbered(self, topic: str, rows: Sequence[Stored]) -> None:
        """Tells the listeners of one topic in memory of things that have growing offsets of their own; never waits.

        What `publish` tells there afterwards is numbered on from them. Raises as `publish_many`.
        """
        self._publisher.publish_numbered(topic, rows)

    def retire(self, name: str) -> None:
        """Ends a topic in memory: listeners are sent what is new, and told that they are unsubscribed.

        What is published to it again is another stream, with another epoch. Who has fallen behind misses the rest.
        """
        self.flush()
        for client in list(self._clients):
            if name in client.subscriptions:
                self.unsubscribe(client, name)
                client.write(client.wire.frame(orjson.dumps({"type": "unsubscribed", "topic": name})))
        self._topics.drop(name)

    def publish_rows(self, family: str, rows: Sequence[Stored], *, epoch: str | None = None) -> int:
        """Tells the listeners of a journalled family of rows that are stored, with growing offsets; never waits.

        Each row goes to the family's bare topic and to the topics it names. `epoch` is the journal's whose rows
        these are: None is this replica's. Rows at or before an offset that came already from there are passed over;
        returns how many were. Whether rows are missing between is not judged here: see `follow`. Raises
        NotFoundError for a family that was not declared, ValueError for one that is not journalled.
        """
        return self._publisher.publish_rows(family, rows, epoch=epoch)

    def follow(self, family: str, epoch: str, offset: int, *, old: int = 0) -> None:
        """Says that of another replica's rows the next to come are those after `offset`.

        Call it before its first rows, with the offset that it begins after, and where rows that were missed cannot
        be had: listeners get a gap record up to `offset` then. Has no effect where rows from after it came already.

        Rows up to `old`, of an origin that is new here, are kept for those who resume from an earlier position,
        and are no news to others, who begin after them. Call `settle` once all of those have come.
        """
        self._publisher.follow(family, epoch, offset, old=old)

    def settle(self, family: str, epoch: str) -> None:
        """Says that of another replica's rows all have come that are old (`follow`). Again, it has no effect."""
        self._publisher.settle(family, epoch)

    def tops(self, topic: str) -> dict[str, int] | None:
        """The newest offset of each origin of a topic's family, by its epoch; None where that is in memory."""
        family = self._topics.family(topic)
        return dict(family.tops) if family.history is not None else None

    def places(self, client: Client) -> Places:
        """Where a connection stands in each of its topics."""
        return self._delivery.catching_up.places(client)

    # Connections ---------------------------------------------------------------------------------------------
    def reserve(self, ip: str) -> AbstractContextManager[None]:
        """Holds a seat for a connection about to be opened; raises OverloadedError on entering. Never waits."""
        return self._seats.take(ip)

    @property
    def clients(self) -> Collection[Client]:
        """Every connection; not to be changed."""
        return self._clients

    @property
    def topics(self) -> Sequence[Topic]:
        """Every topic in use; not to be changed."""
        return self._topics.all()

    @property
    def families(self) -> Sequence[Family]:
        """Every declared family of topics."""
        return self._topics.families()

    def is_heard(self, topic: str) -> bool:
        """Whether someone listens to a topic."""
        found = self._topics.get(topic)
        return found is not None and bool(found.audiences)

    def is_taken(self, topic: str) -> bool:
        """Whether all who listen to a topic have been sent everything, and none of them is behind."""
        found = self._topics.get(topic)
        if found is None or not found.audiences:
            return True
        return found.flushed == found.seq and not self._delivery.catching_up.of(found)

    def connect(self, transport: Transport, endpoint: str, wire: Wire = WEBSOCKET) -> Client:
        """Takes a connection in, right after its upgrade; pair with `disconnect`."""
        now = self._timer()
        bucket = TokenBucket(self._settings.messages_per_second, now)
        client = Client(transport, endpoint, high=self._settings.conflate_bytes, bucket=bucket, now=now, wire=wire)
        self._clients.add(client)
        self._gone.clear()
        self._meters.connected(endpoint, 1)
        if self._seats.closed:
            self.close(client, Cause.SHUTDOWN)
        return client

    def disconnect(self, client: Client) -> None:
        """Lets a connection go: its subscriptions end and its transport closes, by force if its buffer stays."""
        self.close(client, Cause.BYE)
        client.transport.close()
        if not client.backlog:
            self._closing.pop(client.transport, None)
        self._clients.discard(client)
        self._meters.connected(client.endpoint, -1)
        if not self._clients:
            self._gone.set()

    def close(self, client: Client, cause: Cause) -> None:
        """Closes a connection: no more messages, a close frame, and `abort` if it is not gone soon after."""
        if client.closed:
            return
        families = [each.audience.topic.family.name for each in client.subscriptions.values()]
        for name in list(client.subscriptions):
            self.unsubscribe(client, name)
        client.close(cause)
        self._closing[client.transport] = self._timer() + CLOSE_SECONDS
        if cause.evicts:
            self._meters.evicted(cause.name.lower(), families)

    def heard(self, client: Client) -> bool:
        """Notes a sign of life; False when the client sends too much and is being closed."""
        client.last_seen = self._timer()
        if client.closed:
            return False
        if client.bucket.take(client.last_seen):
            return True
        self.refused(client, Cause.FLOOD.name.lower())
        self.close(client, Cause.FLOOD)
        return False

    def received(self, client: Client) -> None:
        """Counts a message of a client's."""
        self._meters.received(client.endpoint)

    def refused(self, client: Client, reason: str) -> None:
        """Counts what a client wants and is answered by an error; `reason` is one of few."""
        self._meters.refused(client.endpoint, reason)

    # Subscriptions -------------------------------------------------------------------------------------------
    def check(self, principal: Principal | None, name: str) -> None:
        """Raises ForbiddenError where this caller may not subscribe to a topic, NotFoundError for no such one."""
        if not _admits(self._topics.family(name), principal, name):
            raise ForbiddenError(f"the topic {name[:200]!r} is not for this credential")

    def readmit(self, client: Client) -> list[str]:
        """Judges a client's subscriptions anew, as it has another credential; ends and returns those it lost."""
        lost = [
            name
            for name, subscription in client.subscriptions.items()
            if not _admits(subscription.audience.topic.family, client.principal, name)
        ]
        for name in lost:
            self.unsubscribe(client, name)
        return lost

    def subscribe(  # noqa: PLR0913 - the parts of a request to subscribe
        self,
        client: Client,
        name: str,
        encoder: Encoder,
        *,
        where: Filter | None = None,
        resume: Position | Mapping[str, int] | None = None,
        tag: Any = None,
    ) -> None:
        """Subscribes a connection, in one step: answer, then what it missed or the full state, then live.

        `resume` is where the client stood: `{epoch: offset}` of every origin it heard of. Nothing is checked here:
        see `check`. Raises NotFoundError for an unknown family, InvalidInputError for a second subscription to one
        topic, OverloadedError past live.max_subscriptions or live.max_topics.
        """
        if name in client.subscriptions:
            raise InvalidInputError(f"already subscribed to {name!r}; unsubscribe first")
        if len(client.subscriptions) >= self._settings.max_subscriptions:
            raise OverloadedError(f"live.max_subscriptions: {self._settings.max_subscriptions} are open already")
        topic = self._topics.open(name)
        key = encoder, where, client.wire
        audience = topic.audiences.get(key) or Audience(topic, *key)
        positions = {resume.epoch: resume.offset} if isinstance(resume, Position) else resume
        opening = audience.opening(positions, self._timer())
        answer = audience.subscribed(opening, tag)
        topic.audiences[key] = audience
        audience.size += 1
        client.write_opening(answer + opening.frames)
        self._delivery.catching_up.count(audience, opening.messages)
        subscription = client.subscriptions[name] = Subscription(client, audience, topic.seq, dict(opening.seen))
        subscription.recent = len(opening.frames)
        if opening.behind:
            subscription.lacks = True
            subscription.cursor = topic.first - 1 if topic.family.policy is EVENT else opening.seen[topic.epoch]
        self._claim(subscription, positions or {})
        self._delivery.catching_up.add(subscription)
        if self._delivery.waiting:
            self._timers.ask(0.0)
        self._meters.family(topic.family.name).subscriptions.inc()

    def unsubscribe(self, client: Client, name: str) -> None:
        """Ends a subscription; raises NotFoundError where there is none."""
        subscription = client.subscriptions.pop(name, None)
        if subscription is None:
            raise NotFoundError(f"not subscribed to {name[:200]!r}")
        audience = subscription.audience
        self._delivery.catching_up.remove(subscription)
        audience.size -= 1
        if not audience.size:
            del audience.topic.audiences[audience.key]
        audience.topic.claims.pop(subscription, None)
        self._meters.family(audience.topic.family.name).subscriptions.dec()

    # Timers --------------------------------------------------------------------------------------------------
    def flush(self) -> int:
        """Sends what is pending; the timers call it. Returns the number of writes."""
        return self._delivery.run()

    def sweep(self) -> None:
        """Looks after every connection and topic: pings, evictions, aborts, forgetting; the timers call it."""
        now = self._timer()
        self._abort_overdue(now)
        waiting = dict[str, float]()
        for client in list(self._clients):
            if client.backlog:
                self._add_waiting(client, waiting)
            if client.transport.is_closing():
                client.ended()
            cause = None if client.closed else self._health.check(client, now)
            if cause is not None:
                self.close(client, cause)
        self._meters.waiting(waiting)
        forget_before = self.clock() - self._settings.history_seconds
        for topic in self._topics.all():
            topic.forget(forget_before)
            self._delivery.tell_positions(topic)
            for audience in topic.audiences.values():
                audience.recent *= FADING

    def _add_waiting(self, client: Client, waiting: dict[str, float]) -> None:
        """Adds what waits for a client, by the families of its topics."""
        for name, share in shares(client).items():
            family = name.partition("/")[0]
            waiting[family] = waiting.get(family, 0.0) + share
        fade(client)

    def _abort_overdue(self, now: float) -> None:
        for transport, deadline in list(self._closing.items()):
            if now >= deadline:
                _abort(transport)
                del self._closing[transport]

    def _claim(self, subscription: Subscription, positions: Mapping[str, int]) -> None:
        """Remembers positions in the streams of replicas that are not known here, for when they are."""
        topic = subscription.audience.topic
        claims = {epoch: offset for epoch, offset in positions.items() if epoch not in topic.origins}
        if claims and topic.family.history is not None:
            topic.claims[subscription] = claims

    def _flush_due(self) -> float | None:
        if self._delivery.unsent:
            return BURST_SECONDS
        return max(self._settings.flush_seconds, DRAIN_SECONDS) if self._delivery.waiting else None

    async def _until_gone(self) -> None:
        if not self._clients:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._gone.wait()


def _admits(family: Family, principal: Principal | None, name: str) -> bool:
    return family.admits is None or (principal is not None and family.admits(principal, name))


def _abort(transport: Transport) -> None:
    """Frees what is buffered. Where it is closing and nothing is, it may be lost: asyncio cannot abort it then."""
    if transport.get_write_buffer_size() or not transport.is_closing():
        transport.abort()
