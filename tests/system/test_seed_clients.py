"""The group accounts document's own sample clients, as it has them but for host and port, against a real exporter.

The JavaScript samples run in a real browser, the Python one as a program of its own. What they call and leave to
the reader (`updateMetricsUI`, `showAlertNotification`) writes down what it is given.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, Program, clean_environment, wait_for
from tests.web.browser import Tab, browse

PREFIX = "/api/v1/group-ai/monitor"

METRICS_SAMPLE = """
const ws = new WebSocket('ws://localhost:8000/api/v1/group-ai/monitor/ws/metrics');

ws.onopen = () => {
  console.log('WebSocket 連接已建立');

  // 發送心跳
  setInterval(() => {
    ws.send(JSON.stringify({ type: 'ping' }));
  }, 30000); // 每 30 秒
};

ws.onmessage = (event) => {
  const data = JSON.parse(event.data);

  if (data.type === 'metrics_update') {
    console.log('收到指標更新:', data);
    // 更新 UI
    updateMetricsUI(data.system_metrics, data.account_metrics);
  } else if (data.type === 'pong') {
    console.log('收到心跳響應');
  }
};

ws.onerror = (error) => {
  console.error('WebSocket 錯誤:', error);
};

ws.onclose = () => {
  console.log('WebSocket 連接已關閉');
};
"""

ALERTS_SAMPLE = """
const alertWs = new WebSocket('ws://localhost:8000/api/v1/group-ai/monitor/ws/alerts');

alertWs.onmessage = (event) => {
  const data = JSON.parse(event.data);

  if (data.type === 'alert') {
    console.log('收到新告警:', data.alert);
    // 顯示告警通知
    showAlertNotification(data.alert);
  }
};
"""

CONSOLE_SAMPLE = """
const ws = new WebSocket('ws://localhost:8000/api/v1/group-ai/monitor/ws/metrics');
ws.onmessage = (e) => console.log(JSON.parse(e.data));
"""

PYTHON_SAMPLE = """
import asyncio
import websockets
import json

async def connect_metrics():
    uri = "ws://localhost:8000/api/v1/group-ai/monitor/ws/metrics"
    async with websockets.connect(uri) as websocket:
        # 接收消息
        async for message in websocket:
            data = json.loads(message)
            if data.get("type") == "metrics_update":
                print(f"收到指標更新: {data['system_metrics']}")
            elif data.get("type") == "pong":
                print("收到心跳響應")

# 運行
asyncio.run(connect_metrics())
"""

# Before the sample: what it leaves to the reader, and what the console was told.
READER = """
window.shown = []; window.said = [];
const updateMetricsUI = (system, accounts) => shown.push({ system, accounts });
const showAlertNotification = (alert) => shown.push(alert);
const log = console.log; console.log = (...what) => { said.push(what[0]); log(...what); };
"""


def here(sample: str, exporter: Exporter) -> str:
    """A sample with this exporter's host and port."""
    assert "localhost:8000" in sample
    return sample.replace("localhost:8000", f"127.0.0.1:{exporter.port}")


@contextmanager
def site(script: str) -> Iterator[str]:
    """A page with a script on a server of its own: another origin on this machine, as the document's page is."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                f"<!doctype html><meta charset=utf-8><link rel=icon href=data:,><script>{script}</script>".encode()
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(sample: str, exporter: Exporter, folder: Path) -> Iterator[Tab]:
    """A browser that runs a sample."""
    with site(READER + here(sample, exporter)) as url, browse(folder) as tab:
        tab.open(url)
        yield tab
        assert tab.complaints == []


def shown(tab: Tab) -> Any:
    return json.loads(tab.evaluate("JSON.stringify(window.shown ?? [])"))


def act(exporter: Exporter, account: str, **activity: Any) -> None:
    status, answer = exporter.post(f"{PREFIX}/accounts/{account}/activity", activity)
    assert status == 202, answer


def alert(exporter: Exporter, account: str) -> None:
    """An alert, the way Alertmanager tells it."""
    one = {
        "status": "firing",
        "labels": {"alertname": "FleetpulseAccountErrorRate", "severity": "warning", "account_id": account},
        "annotations": {"summary": f"賬號 {account} 錯誤率過高"},
        "startsAt": "2025-01-07T14:30:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": account,
    }
    payload = {"version": "4", "status": "firing", "receiver": "fleetpulse", "alerts": [one], "groupKey": "{}"}
    status, answer = exporter.post("/api/v1/alerts/webhook", payload)
    assert status in (200, 202), answer


def test_the_metrics_sample_in_a_browser(exporter: Exporter, tmp_path: Path) -> None:
    act(exporter, "account_1", kind="message", count=3)
    with running(METRICS_SAMPLE, exporter, tmp_path) as tab:
        first = wait_for(lambda: shown(tab))[0]
        assert first["system"]["total_messages"] == 3
        assert set(first["system"]) >= {
            "total_accounts",
            "online_accounts",
            "total_messages",
            "total_replies",
            "total_redpackets",
            "total_errors",
            "average_reply_time",
        }
        assert first["accounts"][0]["account_id"] == "account_1"
        act(exporter, "account_1", kind="reply", count=2)
        wait_for(lambda: shown(tab)[-1]["system"]["total_replies"] == 2, what="the update after five seconds")
        assert len(shown(tab)) <= 10, "a message every five seconds, not a flood"
        tab.evaluate("ws.send(JSON.stringify({ type: 'ping' }))")
        tab.until("said.includes('收到心跳響應')")
        exporter.terminate()
        tab.until("said.includes('WebSocket 連接已關閉')")


def test_the_alerts_sample_in_a_browser(exporter: Exporter, tmp_path: Path) -> None:
    for number in range(12):
        alert(exporter, f"account_{number}")
    with running(ALERTS_SAMPLE, exporter, tmp_path) as tab:
        wait_for(lambda: len(shown(tab)) == 10)
        assert [one["account_id"] for one in shown(tab)] == [f"account_{number}" for number in range(2, 12)]
        alert(exporter, "account_12")
        wait_for(lambda: len(shown(tab)) == 11)
        newest = shown(tab)[-1]
        assert set(newest) >= {"alert_id", "alert_type", "account_id", "message", "resolved"}
        assert (newest["account_id"], newest["resolved"]) == ("account_12", False)
        assert "錯誤率過高" in newest["message"]


def test_the_console_sample_in_several_tabs_at_once(exporter: Exporter, tmp_path: Path) -> None:
    act(exporter, "account_1", kind="message")
    script = (
        "{ window.said = []; const log = console.log; console.log = (what) => { said.push(what); log(what); }; }"
    )
    opened = "const other = new WebSocket(ws.url); other.onopen = () => other.close();"
    with site(script + here(CONSOLE_SAMPLE, exporter) + opened) as url, browse(tmp_path) as tab:
        tab.open(url)
        tab.until("said.length > 0 && other.readyState === 3")
        seen = tab.evaluate("said.length")
        tab.until(f"said.length > {seen}")
        assert tab.evaluate("said.at(-1).type") == "metrics_update"


@pytest.fixture
def program(exporter: Exporter, tmp_path: Path) -> Iterator[Program]:
    """The Python sample, running."""
    path = tmp_path / "sample.py"
    path.write_text(here(PYTHON_SAMPLE, exporter))
    environment = clean_environment(PYTHONUNBUFFERED="1", PYTHONUTF8="1")
    it = Program("sample", [sys.executable, str(path)], "", tmp_path / "sample.log", environment)
    it.start(wait=False)
    yield it
    it.stop()


def test_the_python_sample(exporter: Exporter, program: Program) -> None:
    wait_for(lambda: "收到指標更新: {'total_accounts': 0" in program.output())
    act(exporter, "account_1", kind="message", count=4)
    wait_for(lambda: "'total_messages': 4" in program.output())
    assert "Traceback" not in program.output()
