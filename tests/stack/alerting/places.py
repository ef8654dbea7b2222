"""Stand-ins for the services that Alertmanager tells, on one loopback port, and a real Alertmanager.

Each stand-in answers as its service's documentation says, and keeps what it was sent.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.tools import running, until

PUBLISHED = """<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult>
<MessageId>1</MessageId></PublishResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></PublishResponse>"""

ANSWERS: list[tuple[str, Callable[[], web.Response]]] = [
    ("/sendMessage", lambda: web.json_response({"ok": True, "result": {"message_id": 1, "chat": {"id": 1}}})),
    ("/gettoken", lambda: web.json_response({"errcode": 0, "access_token": "wechat-access"})),
    ("/cgi-bin", lambda: web.json_response({"errcode": 0, "errmsg": "ok"})),
    ("/pagerduty", lambda: web.json_response({"status": "success"}, status=202)),
    ("/sns", lambda: web.Response(text=PUBLISHED, content_type="text/xml")),
    ("/discord", lambda: web.Response(status=204)),
]


@dataclass(frozen=True)
class Sent:
    """One request: where to, and what."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Places:
    """Everything that arrived, in order."""

    sent: list[Sent] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        form = "urlencoded" in request.headers.get("Content-Type", "")
        body = dict(parse_qsl(raw.decode())) if form else orjson.loads(raw or b"{}")
        self.sent.append(Sent(request.path, dict(request.query), dict(request.headers), body))
        return next((answer() for ending, answer in ANSWERS if ending in request.path), web.Response(text="ok"))

    def to(self, path: str) -> list[Sent]:
        """What was sent to a path that begins so."""
        return [each for each in self.sent if each.path.startswith(path)]


@asynccontextmanager
async def places() -> AsyncIterator[tuple[Places, str]]:
    """The stand-ins and their address."""
    made = Places()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    async with TestServer(app) as server:
        yield made, f"http://127.0.0.1:{server.port}"


@dataclass(frozen=True)
class Alertmanager:
    """A real one."""

    address: str
    session: aiohttp.ClientSession
    log: Path

    async def post(self, labels: dict[str, str], annotations: dict[str, str], *, resolved: bool = False) -> None:
        now = datetime.now(UTC)
        ends = now if resolved else now + timedelta(minutes=10)
        alert = {
            "labels": labels,
            "annotations": annotations,
            "startsAt": now.isoformat(),
            "endsAt": ends.isoformat(),
        }
        async with self.session.post(f"http://{self.address}/api/v2/alerts", json=[alert]) as answer:
            assert answer.status == 200, await answer.text()

    async def happens(self, condition: Callable[[], Any]) -> Any:
        return await until(condition, self.log)


@asynccontextmanager
async def alertmanager(config: Path, folder: Path, program: str = "alertmanager") -> AsyncIterator[Alertmanager]:
    """Alertmanager with this configuration on a free port."""
    log = folder / "alertmanager.log"
    flags = (f"--storage.path={folder / 'data'}", "--cluster.listen-address=", "--web.listen-address=127.0.0.1:0")
    async with aiohttp.ClientSession() as session, running(program, f"--config.file={config}", *flags, log=log):
        address = await until(lambda: re.search(r"Listening on.*address=(\S+)", log.read_text()), log)
        yield Alertmanager(address[1], session, log)
