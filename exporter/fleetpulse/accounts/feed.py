"""`ws/metrics`: what its clients may say, and what they are told, at the interval each has chosen.

Every interval is a topic of the hub, which is published to only while someone listens; who has chosen the same
interval and the same accounts is one audience, which is encoded for once. A slow client gets the newest message
once it has read the one before, as on every state topic.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleetpulse.accounts.documents import MAX_SHOWN, Chosen, document_time, metrics_update
from fleetpulse.accounts.history import HistoryDesk, Span
from fleetpulse.accounts.whole import Figures
from fleetpulse.errors import FleetpulseError, OverloadedError
from fleetpulse.live.client import Client
from fleetpulse.live.encoders import Encoder
from fleetpulse.live.hub import Hub
from fleetpulse.live.messages import Message
from fleetpulse.live.sessions import Session, broken, type_of
from fleetpulse.live.topics import STATE, Topic
from fleetpulse.signals import Label

FAMILY = "account_metrics"
USUAL_SECONDS, LEAST_SECONDS, MOST_SECONDS = 5, 1, 300
Interval = Annotated[int, Field(ge=LEAST_SECONDS, le=MOST_SECONDS)]
Accounts = Annotated[frozenset[Label], Field(max_length=MAX_SHOWN)]


class Configure(BaseModel):
    """What a client chooses. What it leaves out stays as it was; an empty list of accounts means all."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["configure"] = "configure"
    interval: Interval | None = None
    accounts: Accounts | None = None


class AskHistory(Span):
    """A client asks for what was."""

    type: Literal["history"]


_OWN: TypeAdapter[Configure | AskHistory] = TypeAdapter(
    Annotated[Configure | AskHistory, Field(discriminator="type")]
)


@dataclass(frozen=True)
class Metrics:
    """What the topics tell: the metrics of all accounts as they are when somebody looks."""

    book: Figures
    clock: Callable[[], float]

    def as_json(self) -> dict[str, Any]:
        """The document's message."""
        return metrics_update(self.book, frozenset(), self.clock())


@dataclass(frozen=True)
class MetricsEncoder(Encoder):
    """The document's message, of the chosen accounts. Encoders of the same accounts are equal."""

    chosen: Chosen
    book: Figures = field(compare=False)
    clock: Callable[[], float] = field(compare=False)

    def snapshot(self, topic: Topic, items: Sequence[Any]) -> list[bytes]:  # noqa: ARG002 - an interface
        """The metrics as they are."""
        return [self._update()]

    def message(self, topic: Topic, message: Message) -> bytes:  # noqa: ARG002 - an interface
        """The same: also who was slow is told what is, not what was."""
        return self._update()

    def _update(self) -> bytes:
        return orjson.dumps(metrics_update(self.book, self.chosen, self.clock()))


class Ticker:
    """Publishes to the topics of the intervals that someone listens to; each stops with its last listener."""

    def __init__(self, hub: Hub, metrics: Metrics) -> None:
        self._hub = hub
        self.metrics = metrics
        self._listeners: Counter[int] = Counter()
        self._timers: dict[int, asyncio.TimerHandle] = {}

    @property
    def intervals(self) -> list[int]:
        """The intervals that are published to now, in seconds."""
        return sorted(self._timers)

    def join(self, interval: int) -> None:
        """One more listens."""
        self._listeners[interval] += 1
        if interval not in self._timers:
            self._arm(interval, asyncio.get_running_loop().time() + interval)

    def leave(self, interval: int) -> None:
        """One less."""
        self._listeners[interval] -= 1
        if not self._listeners[interval]:
            del self._listeners[interval]
            self._timers.pop(interval).cancel()

    def _arm(self, interval: int, when: float) -> None:
        self._timers[interval] = asyncio.get_running_loop().call_at(when, self._tick, interval, when)

    def _tick(self, interval: int, when: float) -> None:
        now = asyncio.get_running_loop().time()
        self._arm(interval, max(when + interval, now))  # a loop that was held up makes up for one at the most
        self._hub.publish(topic_of(interval), self.metrics, key="metrics", kind="update")


@dataclass(frozen=True)
class MetricsFeed:
    """What the sessions share. Make it once; it declares its topics."""

    hub: Hub
    book: Figures
    desk: HistoryDesk
    ticker: Ticker

    @classmethod
    def make(cls, hub: Hub, book: Figures, desk: HistoryDesk) -> "MetricsFeed":
        """Declares the topics."""
        metrics = Metrics(book, hub.clock)
        hub.declare(FAMILY, STATE, lambda _topic: [metrics])
        return cls(hub, book, desk, Ticker(hub, metrics))


class MetricsSession(Session):
    """One client: first what was, where it asked for that, then what is, at its interval."""

    def __init__(self, feed: MetricsFeed, client: Client, wanted: Configure, history: Span | None = None) -> None:
        super().__init__(feed.hub, client)
        self._feed = feed
        self._interval = wanted.interval or USUAL_SECONDS
        self._chosen: Chosen = wanted.accounts or frozenset()
        self._history = history
        self._asking: asyncio.Task[None] | None = None
        self._live: int | None = None

    def opened(self) -> None:
        """Begins."""
        if self._history is None:
            self._go_live()
        else:
            self._ask(self._history)

    def closed(self) -> None:
        """Lets go."""
        self._leave()
        if self._asking is not None:
            self._asking.cancel()

    def received(self, text: str) -> None:
        """A message came in; what is not of this feed is the base's to answer."""
        if type_of(text) not in ("configure", "history"):
            super().received(text)
            return
        try:
            request = _OWN.validate_json(text)
        except ValidationError as error:
            self.refused(broken(error, within=1))
            return
        if isinstance(request, Configure):
            self._configure(request)
        else:
            self._ask(request)

    def _pong(self) -> dict[str, Any]:
        return {"type": "pong", "timestamp": document_time(self._hub.clock())}

    def _configure(self, wanted: Configure) -> None:
        self._interval = wanted.interval or self._interval
        self._chosen = self._chosen if wanted.accounts is None else wanted.accounts
        self._send({"type": "configured", "interval": self._interval, "accounts": sorted(self._chosen)})
        if self._live is not None:
            self._leave()
            self._go_live()

    def _go_live(self) -> None:
        """Tells what is at once, and from then on at the interval."""
        encoder = MetricsEncoder(self._chosen, self._feed.book, self._hub.clock)
        try:
            self._hub.subscribe(self._client, topic_of(self._interval), encoder)
        except FleetpulseError as error:  # no room for one more topic
            self.refused(error)
            return
        self._live = self._interval
        self._feed.ticker.join(self._live)

    def _leave(self) -> None:
        if self._live is not None:
            self._feed.ticker.leave(self._live)
            name, self._live = topic_of(self._live), None
            if name in self._client.subscriptions:
                self._hub.unsubscribe(self._client, name)

    def _ask(self, span: Span) -> None:
        if self._asking is not None:
            self.refused(OverloadedError("a history is on its way already; ask again after it"))
            return
        self._asking = asyncio.create_task(self._replay(span))

    async def _replay(self, span: Span) -> None:
        """Sends what was; where it cannot be had, says so. Then the live messages go on, or begin."""
        try:
            body = await self._feed.desk.message(span, self._chosen, self._hub.clock())
            self._client.write_opening(self._client.wire.frame(body))
        except FleetpulseError as error:
            self.refused(error)
        finally:
            self._asking = None
        if self._live is None and not self._client.closed:
            self._go_live()


def topic_of(interval: int) -> str:
    """The topic of an interval in seconds."""
    return f"{FAMILY}/{interval}"
