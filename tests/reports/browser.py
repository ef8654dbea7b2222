"""A real headless chromium, driven over its DevTools protocol: what a page shows, asks for and complains about."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.tools import need_tool, tail
from websockets.asyncio.client import ClientConnection, connect

DEADLINE = 90.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}


@dataclass
class Tab:
    """One page; `requests` are the addresses it asked for, `complaints` whatever it logged."""

    connection: ClientConnection
    session: str | None = None
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _events: list[str] = field(default_factory=list)

    async def open(self, url: str) -> None:
        """Loads an address, and waits until everything it asked for is there."""
        self._events.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(DEADLINE):
            while "Page.loadEventFired" not in self._events:
                self._hear(json.loads(await self.connection.recv()))

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives on the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def look(self, path: Path, *, scheme: str = "light", media: str = "screen", width: int = 1100) -> None:
        """Takes a picture of the whole page."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", media=media, features=features)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        number = next(self._ids)
        session = {"sessionId": self.session} if self.session else {}
        await self.connection.send(json.dumps({"id": number, "method": method, "params": parameters} | session))
        async with asyncio.timeout(DEADLINE):
            while (heard := json.loads(await self.connection.recv())).get("id") != number:
                self._hear(heard)
        assert "error" not in heard, heard
        return heard["result"]

    def _hear(self, event: dict[str, Any]) -> None:
        method = event.get("method", "")
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
        if method in COMPLAINTS:
            self.complaints.append(json.dumps(event["params"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    """A fresh chromium with one empty tab that is listened to."""
    log = folder / "chromium.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            need_tool("chromium"), *FLAGS, f"--user-data-dir={folder / 'profile'}", stdout=output, stderr=output
        )
        try:
            async with connect(await _address(log), max_size=2**26) as connection:
                yield await _tab(connection)
        finally:
            process.terminate()
            await process.wait()


async def _address(log: Path) -> str:
    async with asyncio.timeout(DEADLINE):
        while True:
            for line in tail(log).splitlines():
                if line.startswith("DevTools listening on "):
                    return line.removeprefix("DevTools listening on ")
            await asyncio.sleep(0.05)


async def _tab(connection: ClientConnection) -> Tab:
    whole = Tab(connection)
    target = await whole.call("Target.createTarget", url="about:blank")
    attached = await whole.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    tab = Tab(connection, attached["sessionId"])
    for domain in ("Page", "Runtime", "Log", "Network"):
        await tab.call(f"{domain}.enable")
    return tab
