"""SIGTERM under load: what was acknowledged is stored, nobody is cut off in mid-sentence, and state is kept."""

import json
import random
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from tests.system.harness import Exporter, get, wait_for
from tests.system.sending import Batches, Load, exposed, stored
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

BEAT = {"status": "busy", "cpu_usage": 10, "memory_usage": 20, "pool_id": "p"}
AGENTS = "/api/v1/agent-pools/p/agents"
FEEDS = ("/ws/live?topics=requests", "/ws/agent-pools/p/metrics", "/api/v1/group-ai/monitor/ws/alerts")


def test_what_was_acknowledged_is_stored_and_the_exit_is_clean(exporter: Exporter, tmp_path: Path) -> None:
    load = Load(exporter.port, Batches(random.Random(1), "drain", 100), connections=6, pause=(0.0, 0.002))
    for _ in range(3):
        load.start()
        wait_for_more(load, 30)
        assert exporter.terminate() == 0, exporter.output()
        load.stop()
        assert "Traceback" not in exporter.output()
        assert stored(exporter.data_dir, tmp_path) == load.sums(), "whatever was stored was acknowledged, too"
        exporter.start()
        assert exposed(exporter.metrics()) == load.sums()
    load.settle()
    assert (load.duplicates, load.broken) == (0, [])
    assert stored(exporter.data_dir, tmp_path) == exposed(exporter.metrics()) == load.sums()


def wait_for_more(load: Load, batches: int) -> None:
    """Waits until so many more batches are acknowledged."""
    wanted = len(load.acknowledged) + batches
    wait_for(lambda: len(load.acknowledged) >= wanted, what="batches acknowledged")


def closing_of(feed: ClientConnection) -> tuple[int, list[Any]]:
    """Reads a feed to its end: the close code, and what was said before."""
    said = []
    while True:
        try:
            said.append(json.loads(feed.recv(30)))
        except ConnectionClosed as over:
            return over.rcvd.code if over.rcvd else 1006, said


def test_feeds_are_told_to_go_away(exporter: Exporter) -> None:
    base = f"ws://127.0.0.1:{exporter.port}"
    with connect(base + FEEDS[0]) as live, connect(base + FEEDS[1]) as pool, connect(base + FEEDS[2]) as alerts:
        exporter.post("/api/log-request", {"request_id": "r", "source": "s", "status": "ok", "execution_time": 1})
        exporter.process.send_signal(signal.SIGTERM)
        endings = [closing_of(feed) for feed in (live, pool, alerts)]
    assert [code for code, _ in endings] == [1001, 1001, 1001]
    assert endings[0][1][-1]["data"]["request_id"] == "r", "published before, so delivered before"
    assert exporter.process.wait(30) == 0, exporter.output()


def slow_request(exporter: Exporter, body: bytes) -> socket.socket:
    """A request whose body has come half-way."""
    head = f"POST /api/log-request HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", exporter.port), 30)
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def test_a_request_that_comes_slowly_is_answered_or_leaves_nothing(exporter: Exporter, tmp_path: Path) -> None:
    body = next(Batches(random.Random(2), "slow", 10)).body
    with (
        slow_request(exporter, body) as slow,
        connect(f"ws://127.0.0.1:{exporter.port}/ws/agent-pools/p/metrics") as feed,
    ):
        exporter.process.send_signal(signal.SIGTERM)
        assert closing_of(feed)[0] == 1001
        slow.sendall(body[len(body) // 2 :])
        answer = slow.recv(65_536)
    assert exporter.process.wait(30) == 0, exporter.output()
    assert answer[:13] in (b"HTTP/1.1 202 ", b"HTTP/1.1 503 ", b"")
    assert stored(exporter.data_dir, tmp_path).requests == (10 if b" 202 " in answer[:13] else 0)


def test_readiness_ends_before_service_does(exporter: Exporter) -> None:
    """A client of the feed that never answers the goodbye keeps the exporter draining for a moment."""
    upgrade = "GET /ws/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with socket.create_connection(("127.0.0.1", exporter.port), 30) as mute:
        mute.sendall((upgrade + key).encode())
        assert mute.recv(65_536).startswith(b"HTTP/1.1 101 ")
        exporter.process.send_signal(signal.SIGTERM)
        wait_for(lambda: readiness(exporter) == 503, what="an exporter that is not ready any more")
    assert exporter.process.wait(30) == 0, exporter.output()


def readiness(exporter: Exporter) -> int:
    """The status of the readiness check."""
    try:
        get(f"{exporter.url}/-/ready")
    except HTTPError as error:
        with error:
            return error.code
    return 200


def states(exporter: Exporter) -> dict[str, str]:
    """Every agent's status."""
    return {agent["agent_id"]: agent["status"] for agent in exporter.get(AGENTS)["agents"]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_agents_are_as_they_were(exporter: Exporter, number: signal.Signals) -> None:
    tasks = [{"task_id": 7, "task_type": "plan"}]
    exporter.post("/api/v1/agents/working/ping", BEAT | {"running_tasks": tasks, "agent_name": "Nr. 1"})
    exporter.post("/api/v1/agents/leaving/ping", BEAT | {"status": "offline"})
    before = exporter.get(AGENTS)
    series = {name: value for name, value in exporter.metrics().items() if name.startswith("fleetpulse_agent")}
    assert exporter.end(number) == 0, exporter.output()
    exporter.start()
    assert exporter.get(AGENTS) == before
    assert {name: value for name, value in exporter.metrics().items() if name in series} == series
    with connect(f"ws://127.0.0.1:{exporter.port}/ws/agent-pools/p/metrics") as feed:
        assert json.loads(feed.recv(30))["metrics"] == before["agents"]
        exporter.post("/api/v1/agents/working/ping", BEAT)
        assert json.loads(feed.recv(30))["metrics"]["agent_id"] == "working", "nobody was called offline in between"


def test_a_silent_agent_stays_known_and_silent(tmp_path: Path) -> None:
    exporter = Exporter(tmp_path / "exporter", FLEETPULSE_THRESHOLDS__HEARTBEAT_SILENCE_SECONDS="1")
    try:
        exporter.start()
        exporter.post("/api/v1/agents/quiet/ping", BEAT)
        wait_for(lambda: states(exporter) == {"quiet": "offline"}, what="the agent falling silent")
        assert exporter.terminate() == 0
        exporter.start()
        assert states(exporter) == {"quiet": "offline"}
        silent = 'fleetpulse_agent_status{pool_id="p",agent_id="quiet",status="silent"}'
        assert exporter.metrics()[silent] == 1
        exporter.post("/api/v1/agents/quiet/ping", BEAT)
        assert exporter.metrics()['fleetpulse_agent_up{pool_id="p",agent_id="quiet"}'] == 1
    finally:
        exporter.stop()
