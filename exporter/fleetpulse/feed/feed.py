"""The live client: topics of an exporter as one async iterator that outlives its connections.

Promises: of an event topic every event once and in order (of each origin), or a `Gap` that names the ones no longer
held; of a state topic the newest state of every key. A cut is repaired by itself: after a wait that is random and
grows, every topic is resumed from where it stood. Who reads slowly makes the client stop reading: at most
`queue_size` messages wait in it, the rest in the server, whose rules for slow clients then hold (docs/live.md).
Refuses: to try again what cannot succeed, such as a wrong credential; iteration then raises, saying why.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UpstreamError,
)
from fleetpulse.feed.backoff import Backoff
from fleetpulse.feed.connection import IDLE_SECONDS, LostError, Socket, address, open_socket
from fleetpulse.feed.messages import Message, StateChange, TopicMessage, load
from fleetpulse.feed.positions import Positions
from fleetpulse.feed.tokens import Token, Tokens
from fleetpulse.feed.topic import FeedTopic, FilterValues, canonical

EVENT = "event"
ASK_AGAIN_SECONDS = 5.0  # after the server could not take a subscription now
PACE = 20  # subscriptions sent in one go; then a pause, as the server bounds messages a second
PACE_SECONDS = 0.5
log = logging.getLogger(__name__)
_REFUSALS: dict[str, type[FleetpulseError]] = {
    "not-found": NotFoundError,
    "forbidden": ForbiddenError,
    "invalid-input": InvalidInputError,
    "malformed": InvalidInputError,
    "unauthenticated": UnauthenticatedError,
}
_Item = tuple[FeedTopic | None, Message | FleetpulseError]


class LiveFeed:
    """A live connection to an exporter; an async context manager and an async iterator of messages.

        async with LiveFeed("http://127.0.0.1:8001") as feed:
            feed.subscribe("requests", filter={"status": "error"})
            async for message in feed:
                if isinstance(message, Event):
                    print(message.data["request_id"])

    `token` is a bearer token (JWT or app key), or a function, async or not, that is asked for one at each
    connection and shortly before one expires. `headers` go with each handshake. `positions` are those of an earlier
    run. `give_up_seconds` bounds how long it may be without a connection; None never gives up. `ssl_context` is for
    certificates of your own. A connection silent for `idle_seconds` is asked for a sign of life.
    """

    def __init__(  # noqa: PLR0913 - options, each with a default
        self,
        url: str,
        *,
        token: Token = None,
        headers: Mapping[str, str] | None = None,
        positions: Mapping[str, Mapping[str, int]] | None = None,
        queue_size: int = 1_000,
        backoff: Backoff | None = None,
        give_up_seconds: float | None = None,
        idle_seconds: float = IDLE_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = address(url)
        self._headers = dict(headers or {})
        self._known = {topic: dict(position) for topic, position in (positions or {}).items()}
        self._tokens = Tokens(token)
        self._backoff = backoff or Backoff()
        self._give_up = give_up_seconds
        self._idle = idle_seconds
        self._ssl = ssl_context
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue(queue_size)
        self._topics: dict[str, FeedTopic] = {}
        self._leaving: dict[str, None] = {}
        self._tag = 0
        self._renew = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._error: BaseException | None = None
        self._connected_at: float | None = None

    # For the program -----------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message; raises the error that ended the feed, or that of a subscription, which ends that."""
        while True:
            if self._over and self._queue.empty():
                error, self._error = self._error, None
                raise error or StopAsyncIteration
            item = await self._queue.get()
            message = None if item is None else self._handed(*item)
            if isinstance(message, FleetpulseError):
                raise message
            if message is not None:
                return message

    def subscribe(self, topic: str, *, filter: FilterValues | None = None) -> None:  # noqa: A002 - the protocol's word
        """Subscribes to a topic, now or as soon as there is a connection; with another filter, anew.

        A filter names top-level fields of `data`, each with a value or a list of values.
        """
        name, wanted = canonical(topic), dict(filter or {})
        before = self._topics.get(name)
        if before is not None and before.wanted == wanted:
            return
        if before is not None and before.tag is not None:
            self._leaving[name] = None
        known = before.handed.position if before and before.handed.policy == EVENT else self._known.pop(name, None)
        self._topics[name] = FeedTopic(name, wanted, known)
        self._changed.set()

    def unsubscribe(self, topic: str) -> None:
        """Ends a subscription: none of its messages is handed out any more."""
        before = self._topics.pop(canonical(topic), None)
        if before is not None and before.tag is not None:
            self._leaving[before.name] = None
            self._changed.set()

    @property
    def topics(self) -> list[str]:
        """The topics subscribed to."""
        return list(self._topics)

    @property
    def positions(self) -> Positions:
        """Where the program stands in each event topic, `{topic: {epoch: offset}}`: up to the last message it got.

        Save them (`save_positions`) and give them to the next run's feed, which goes on from there. State topics
        are left out: a program that begins anew needs the whole state, and gets it.
        """
        live = {topic.name: topic.handed for topic in self._topics.values()}
        known = {name: position for name, position in self._known.items() if name not in live}
        for name, track in live.items():
            if track.position and track.policy in (EVENT, ""):
                known[name] = track.position
        return known

    async def close(self) -> None:
        """Ends the feed; what it has received already is still handed out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _handed(
        self, topic: FeedTopic | None, message: Message | FleetpulseError
    ) -> Message | FleetpulseError | None:
        """Moves the program's position; None for what is left of an earlier subscription."""
        if topic is None:
            return message
        if self._topics.get(topic.name) is not topic:
            return None
        if not isinstance(message, StateChange | FleetpulseError):
            topic.handed.takes(message)
        return message

    # The connection ------------------------------------------------------------------------------------------
    async def _run(self) -> None:
        try:
            connector = aiohttp.TCPConnector(ssl=self._ssl or True)
            async with aiohttp.ClientSession(connector=connector) as session:
                await self._stay_connected(session)
        except Exception as error:  # noqa: BLE001 - iteration raises it
            self._error = error
        finally:
            self._over = True
            with suppress(asyncio.QueueFull):  # else there is something to get already
                self._queue.put_nowait(None)

    async def _stay_connected(self, session: aiohttp.ClientSession) -> None:
        since = time.monotonic()
        while True:
            self._connected_at = None
            try:
                await self._connection(session)
            except LostError as lost:
                why, asked = str(lost), lost.retry_after
            except (UnauthenticatedError, ForbiddenError) as error:
                self._tokens.refused(error)
                why, asked = str(error), None
            now = time.monotonic()
            if self._connected_at is not None:
                self._backoff.lasted(now - self._connected_at)
                since = now
            pause = self._backoff.wait(asked)
            if self._give_up is not None and now + pause - since > self._give_up:
                raise UpstreamError("live feed", why)
            await self._tell_state(StateChange("waiting", why, pause))
            await asyncio.sleep(pause)

    async def _connection(self, session: aiohttp.ClientSession) -> None:
        """One connection from its beginning to its end, which is always an error."""
        await self._tell_state(StateChange("connecting"))
        token = await self._tokens.next()
        socket = await open_socket(session, self.url, token, self._headers, self._idle)
        self._begin()
        writer = asyncio.create_task(self._ask(socket))
        try:
            self._connected_at = time.monotonic()
            await self._tell_state(StateChange("connected"))
            while True:
                await self._received(load(await socket.receive()))
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            await socket.close()

    def _begin(self) -> None:
        """Nothing is asked yet on a new connection."""
        self._leaving.clear()
        self._renew = False
        for topic in self._topics.values():
            topic.cut()
        self._changed.set()

    async def _tell_state(self, change: StateChange) -> None:
        await self._queue.put((None, change))

    async def _received(self, raw: dict[str, Any]) -> None:
        kind = raw.get("type")
        if kind == "error":
            await self._refused(raw)
        elif kind == "unsubscribed":
            await self._dropped(raw)
        elif kind == "auth_expiring":
            self._renew = self._tokens.fresh
            self._changed.set()
        elif (topic := self._topics.get(raw.get("topic", ""))) is not None:
            try:
                message: TopicMessage | None = topic.taken(raw)
            except (KeyError, TypeError) as error:
                raise LostError(f"a message of type {kind!r} breaks the protocol: {error!r}") from error
            if message is not None:
                self._tokens.admitted()
                await self._queue.put((topic, message))

    async def _refused(self, raw: dict[str, Any]) -> None:
        """A message of ours had no effect: for good, which the program is told, or for now."""
        code, words = str(raw.get("code")), str(raw.get("message"))
        tag = raw.get("id")
        topic = next((each for each in self._topics.values() if tag is not None and each.tag == tag), None)
        if topic is None:
            log.warning("the live feed says %s: %s", code, words)
        elif code in _REFUSALS:
            del self._topics[topic.name]
            await self._queue.put((None, _REFUSALS[code](f"{topic.name}: {words}")))
        else:
            log.warning("%s cannot be subscribed to now: %s", topic.name, words)
            asyncio.get_running_loop().call_later(ASK_AGAIN_SECONDS, self._ask_again, topic, tag)

    async def _dropped(self, raw: dict[str, Any]) -> None:
        """The server ended a subscription by itself: a newer credential does not allow it."""
        topic = None if "id" in raw else self._topics.pop(raw.get("topic", ""), None)
        if topic is not None:
            await self._queue.put((None, ForbiddenError(f"{topic.name}: the newer token does not allow it")))

    def _ask_again(self, topic: FeedTopic, tag: object) -> None:
        if topic.tag == tag:
            topic.cut()
            self._changed.set()

    # What is asked of the server -----------------------------------------------------------------------------
    async def _ask(self, socket: Socket) -> None:
        """Brings the server's subscriptions in line with the program's, whenever these change."""
        with suppress(LostError):  # the reader hears of it as well
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._renew:
                    self._renew = False
                    await self._show_another_token(socket)
                for number, message in enumerate(self._questions()):
                    await socket.send(message)
                    if number % PACE == PACE - 1:
                        await asyncio.sleep(PACE_SECONDS)

    def _questions(self) -> list[dict[str, Any]]:
        leaving = [{"type": "unsubscribe", "topic": name, "id": self._next_tag()} for name in self._leaving]
        self._leaving.clear()
        asking = [topic for topic in self._topics.values() if topic.tag is None]
        return leaving + [topic.question(self._next_tag()) for topic in asking]

    def _next_tag(self) -> int:
        self._tag += 1
        return self._tag

    async def _show_another_token(self, socket: Socket) -> None:
        """Renews the connection's credential; without a new one it stands until the old one expires."""
        try:
            token = await self._tokens.next()
        except Exception:
            log.exception("no fresh token for the live feed")
            return
        await socket.send({"type": "auth", "token": token or ""})
