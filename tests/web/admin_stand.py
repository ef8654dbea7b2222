"""The whole exporter on a real port in this process, people who chat over it, and administrators who ask."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import ClientSession, web
from tests.web.chat_stand import CHAT, Person

from fleetpulse.app import build, shut_down, start
from fleetpulse.auth import Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Settings
from fleetpulse.journal import EVENTS, EventRow, rows_after

PREFIX = "/api/v1/websocket"


class AdminStand:
    """Settings in, answers out."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._people: list[Person] = []

    async def start(self) -> "AdminStand":
        self.parts = build(self.settings)
        self._runner = web.AppRunner(self.parts.door.web, access_log=None, auto_decompress=False)
        self._background = await start(self.parts, self._runner)
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.session = ClientSession()
        return self

    async def stop(self) -> None:
        await self.session.close()
        await shut_down(self.parts, self._runner, self._background)

    def bearer(self, user: str, *roles: Role, **more: Any) -> Mapping[str, str]:
        """Credentials; where none are asked for, they mean nothing."""
        if self.settings.auth.jwt_secret is None:
            return {}
        token = issue(self.settings.auth, subject=user, roles=roles, lifetime=timedelta(hours=2), **more)
        return {"Authorization": f"Bearer {token}"}

    async def enter(self, user: str, *sessions: str, path: str = CHAT) -> Person:
        """Somebody who is connected, and has joined sessions."""
        headers = self.bearer(user, Role.VIEWER, sessions="*")
        who = "" if headers else f"?user_id={user}"
        person = Person(await self.session.ws_connect(f"{self.url}{path}{who}", headers=headers))
        self._people.append(person)
        person.established = await person.hear("connection_established")  # type: ignore[attr-defined]  # for the test
        for session_id in sessions:
            await person.join(session_id)
        return person

    async def get(self, path: str, *roles: Role, status: int = 200, **query: Any) -> Any:
        """What a GET answers."""
        headers = self.bearer("asks", *(roles or (Role.ADMIN,)))
        params = {name: str(value) for name, value in query.items()}
        async with self.session.get(f"{self.url}{PREFIX}{path}", params=params, headers=headers) as response:
            answer = await response.json()
            assert response.status == status, answer
            return answer

    async def post(self, path: str, body: Any = None, *roles: Role, status: int = 200, actor: str = "boss") -> Any:
        """What a POST answers."""
        headers = self.bearer(actor, *(roles or (Role.ADMIN,)))
        async with self.session.post(f"{self.url}{PREFIX}{path}", json=body or {}, headers=headers) as response:
            answer = await response.json()
            assert response.status == status, answer
            return answer

    def events(self, *categories: str) -> list[EventRow]:
        """Stored events, the oldest first."""
        reader = self.parts.core.journal.reader()
        try:
            rows = [each.row for each in rows_after(reader, EVENTS, 0, 100_000).rows]
        finally:
            reader.close()
        return [row for row in rows if isinstance(row, EventRow) and (not categories or row.category in categories)]


def outcomes(answer: Any) -> dict[tuple[str, str | None], str]:
    """What became of each recipient and connection."""
    return {(each["recipient"], each["connection_id"]): each["outcome"] for each in answer["recipients"]}


def connection_id(person: Person) -> str:
    """How the server calls somebody's connection."""
    return str(person.established["connection_id"])  # type: ignore[attr-defined]  # see `enter`


async def gone(stand: AdminStand, user: str) -> None:
    """Waits until a user has no connection any more."""
    async with asyncio.timeout(20):
        while stand.parts.core.chat.presence.of_user(user):  # noqa: ASYNC110 - the server's doing
            await asyncio.sleep(0.01)
