"""The chat service on a real port, with a real journal behind it, and people who talk over it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, web
from aiohttp.test_utils import TestServer
from tests.web.live_stand import DEADLINE, until

from fleetpulse import catalogue
from fleetpulse.auth import Authenticator, Role
from fleetpulse.auth.tokens import issue
from fleetpulse.budgets import Budgets
from fleetpulse.chat.service import Chat
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.journal import EVENTS, Journal
from fleetpulse.journal.history import EVENT_STREAM, JournalHistory
from fleetpulse.live import EVENT, Hub
from fleetpulse.live.bus import LocalBus
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore
from fleetpulse.web.chat import ChatEndpoints
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard

SECRET = "s" * 40
AUTH = {"jwt_secret": SECRET}
CHAT = "/ws/chat"
MONITOR = "/ws/admin/monitor"


class Person:
    """One connection, which reads all the time, as clients do: only so it answers pings."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.passed: list[dict[str, Any]] = []
        self.said = self.heard = 0
        self._came: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            self.heard += 1
            self._came.put_nowait(json.loads(message.data))
        self._came.put_nowait(None)

    async def say(self, type_: str, **fields: Any) -> None:
        self.said += 1
        await self.socket.send_json({"type": type_, **fields})

    async def next(self) -> dict[str, Any]:
        """The next message."""
        message = await asyncio.wait_for(self._came.get(), DEADLINE)
        assert message is not None, f"closed with {self.socket.close_code} after {self.passed[-3:]}"
        return message

    async def hear(self, type_: str, **fields: Any) -> dict[str, Any]:
        """The next message of a type (with these fields); what comes before it is kept in `passed`."""
        async with asyncio.timeout(DEADLINE):
            while True:
                message = await self.next()
                if message["type"] == type_ and fields.items() <= message.items():
                    return message
                self.passed.append(message)

    async def join(self, session_id: str, **more: Any) -> dict[str, Any]:
        await self.say("join_session", session_id=session_id, **more)
        return await self.hear("session_joined", session_id=session_id)

    async def join_fails(self, session_id: str, code: str) -> None:
        await self.say("join_session", session_id=session_id)
        assert (await self.hear("error"))["code"] == code

    async def nothing_but(self, *types: str) -> None:
        """Nothing else comes before the answer to a ping."""
        before = len(self.passed)
        await self.say("ping", id="nothing-but")
        await self.hear("pong", id="nothing-but")
        assert {each["type"] for each in self.passed[before:]} <= set(types), self.passed[before:]

    async def closed(self) -> int | None:
        """The code with which the server closes; what comes before is kept in `passed`."""
        async with asyncio.timeout(DEADLINE):
            while (message := await self._came.get()) is not None:
                self.passed.append(message)
        return self.socket.close_code


class ChatStand:
    """Settings in, people out; `restart` begins a new process's worth of parts on the same journal."""

    def __init__(self, settings: Settings, *, auth_seconds: float = DEADLINE) -> None:
        self.settings = settings
        self._auth_seconds = auth_seconds
        self._ahead = 0.0
        self.happened: list[tuple[str, str, str]] = []

    async def start(self) -> "ChatStand":
        settings = self.settings
        self.instruments = Instruments()
        self.store = SeriesStore()
        fold = SeriesFold(settings.limits, Budgets(settings.budgets, settings.timezone))
        self.journal = Journal(settings.journal_path, settings.journal, fold, self.instruments, self.store.apply)
        fold.restore(self.journal.totals)
        self.store.apply(self.journal.totals)
        self.hub = Hub(settings.live, self.instruments)
        self.hub.declare("events", EVENT, history=JournalHistory(self.journal, EVENT_STREAM))
        self.chat = Chat(
            settings, self.journal, self.hub, LocalBus("here"), self.instruments, self._tell, clock=self.clock
        )
        self.journal.start(self.chat.stored)
        self._work = asyncio.create_task(self.chat.run())
        app = web.Application()
        guard = Guard(Authenticator.from_settings(settings), settings)
        endpoints = ChatEndpoints(self.chat, guard, auth_seconds=self._auth_seconds)
        Entry(guard, self.instruments).install(app, endpoints.routes())
        self.server = TestServer(app)
        self.session = ClientSession()
        await self.hub.start()
        await self.server.start_server()
        return self

    def clock(self) -> float:
        return time.time() + self._ahead

    def later(self, seconds: float) -> None:
        """Sets the chat's clock forward."""
        self._ahead += seconds

    async def stop(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await self.session.close()
        await self.hub.stop()
        await self.server.close()
        await self.chat.stop()
        await self.journal.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def open(self, path: str = CHAT, user: str | None = None, **options: Any) -> Person:
        """A connection; `user` names who, where no credentials are asked for."""
        if user is not None:
            path += f"{'&' if '?' in path else '?'}user_id={user}"
        return Person(await self.session.ws_connect(self.server.make_url(path), **options))

    async def enter(self, user: str, path: str = CHAT, **options: Any) -> Person:
        """A connection that is established."""
        person = await self.open(path, user, **options)
        await person.hear("connection_established")
        return person

    @asynccontextmanager
    async def there(self, user: str, path: str = CHAT) -> AsyncIterator[Person]:
        """Somebody who goes again."""
        others = len(self.chat.presence.of_user(user))
        person = await self.enter(user, path)
        yield person
        await person.socket.close()
        await until(lambda: len(self.chat.presence.of_user(user)) == others)

    def token(self, user: str, *roles: Role, sessions: Any = (), minutes: float = 5, **more: Any) -> str:
        lifetime = timedelta(minutes=minutes)
        auth = self.settings.auth.model_copy(update=more)
        return issue(auth, subject=user, roles=roles or (Role.VIEWER,), lifetime=lifetime, sessions=sessions)

    def bearer(self, user: str, *roles: Role, **more: Any) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token(user, *roles, **more)}"}

    def total(self, metric: catalogue.Metric, *labels: str) -> float:
        return self.store.child(metric, labels).parts[""].value

    def value(self, metric: catalogue.Metric, *labels: str) -> float:
        for family in self.instruments.registry.collect():
            for sample in family.samples:
                if sample.name == metric.name and tuple(sample.labels.values()) == labels:
                    return sample.value
        return 0.0

    def _tell(
        self, category: str, kind: str, *, actor: str = "", subject: str = "", detail: Mapping[str, Any] = {}
    ) -> None:
        assert category == "connection"
        assert detail["message_id" if kind == "message_status_changed" else "connection_id"]
        self.happened.append((kind, actor, subject))


ChatServe = Callable[..., Any]
__all__ = ["EVENTS", "ChatServe", "ChatStand", "Person"]
