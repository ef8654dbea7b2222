"""The documents' own browser code, in a real browser, against the endpoints."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.tools import need_tool
from tests.web.live_stand import ALERTS, Serve, Stand, until

BROWSER_DEADLINE = 90.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Between the lines of the documents' samples stand the functions these leave to the reader.
POOL_PAGE = """<!doctype html><script>
const report = (what) => fetch("/report", {method: "POST", body: JSON.stringify(what)});
const shown = {};
const setAgentMetrics = (metrics) => {
  for (const m of metrics) shown[m.agent_id] = m;
  report({step: "initial", shown});
};
const updateAgentMetrics = (m) => { shown[m.agent_id] = m; report({step: "update", shown}); };
const markAgentOffline = (id) => { shown[id].status = "offline"; report({step: "offline", shown}); };
const poolId = "default";
const ws = new WebSocket(`ws://FEED/ws/agent-pools/${poolId}/metrics`);
ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  if (message.type === 'initial_metrics') {
    setAgentMetrics(message.metrics);
  } else if (message.type === 'metrics_update') {
    updateAgentMetrics(message.metrics);
  } else if (message.type === 'agent_offline') {
    markAgentOffline(message.metrics.agent_id);
  }
};
ws.onclose = (event) => report({step: "closed", code: event.code});
</script>"""

ALERT_PAGE = """<!doctype html><script>
const report = (what) => fetch("/report", {method: "POST", body: JSON.stringify(what)});
const showAlertNotification = (alert) => report({step: "alert", alert});
const alertWs = new WebSocket('ws://FEED/api/v1/group-ai/monitor/ws/alerts');
alertWs.onopen = () => { alertWs.send(JSON.stringify({ type: 'ping' })); };
alertWs.onmessage = (event) => {
  const data = JSON.parse(event.data);
  if (data.type === 'alert') {
    showAlertNotification(data.alert);
  } else if (data.type === 'pong') {
    report({step: "pong"});
  }
};
</script>"""


class Page:
    """A page in the browser, and what its script reported."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []

    async def step(self, name: str) -> dict[str, Any]:
        async with asyncio.timeout(BROWSER_DEADLINE):
            while not (found := [report for report in self.reports if report["step"] == name]):  # noqa: ASYNC110 - the browser's doing
                await asyncio.sleep(0.05)
        self.reports.remove(found[0])
        return found[0]


@asynccontextmanager
async def browse(html: str, stand: Stand, folder: Path) -> AsyncIterator[Page]:
    """Opens the page in chromium, from a server of its own: another origin on the same machine."""
    chromium = need_tool("chromium")
    page = Page()

    async def show(_: web.Request) -> web.Response:
        text = html.replace("FEED", f"127.0.0.1:{stand.server.port}")
        return web.Response(text=text, content_type="text/html")

    async def report(request: web.Request) -> web.Response:
        page.reports.append(json.loads(await request.text()))
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", show), web.post("/report", report)])
    site = TestServer(app)
    await site.start_server()
    with (folder / "chromium.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            chromium,
            *FLAGS,
            "--remote-debugging-port=0",  # without it, headless chromium leaves once the page has loaded
            f"--user-data-dir={folder / 'profile'}",
            str(site.make_url("/")),
            stdout=log,
            stderr=log,
        )
        try:
            yield page
        finally:
            process.terminate()
            await process.wait()
            await site.close()


async def test_pool_page_of_the_document(serve: Serve, tmp_path: Path) -> None:
    stand = await serve()
    stand.beat("agent-1", 45.5)
    async with browse(POOL_PAGE, stand, tmp_path) as page:
        assert (await page.step("initial"))["shown"]["agent-1"]["cpu_usage"] == 45.5
        stand.beat("agent-2", 95)
        assert (await page.step("update"))["shown"]["agent-2"]["cpu_usage"] == 95
        stand.offline("agent-1")
        assert (await page.step("offline"))["shown"]["agent-1"]["status"] == "offline"
        await stand.hub.stop()
        assert (await page.step("closed"))["code"] == 1001


async def test_alert_page_of_the_document(serve: Serve, tmp_path: Path) -> None:
    stand = await serve()
    stand.alert(1)
    async with browse(ALERT_PAGE, stand, tmp_path) as page:
        assert (await page.step("alert"))["alert"]["alert_id"] == "a1"
        await page.step("pong")
        stand.alert(2)
        assert (await page.step("alert"))["alert"]["message"] == "错误率过高"


@pytest.mark.parametrize("path", ["/ws/agent-pools/default/metrics", ALERTS, "/ws/live"])
async def test_page_of_another_site_may_not_listen(serve: Serve, path: str) -> None:
    stand = await serve()
    async with stand.session.get(
        stand.server.make_url(path),
        headers={
            "Origin": "https://elsewhere.example",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    ) as answer:
        assert answer.status == 403
    await until(lambda: not stand.hub.seen)
