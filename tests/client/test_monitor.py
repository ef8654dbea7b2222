"""The monitor against a real exporter, and against servers that misbehave."""

import asyncio
import gc
import json
import logging
import math
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.client.scripted import Answer, Request, acknowledge, http, serving
from tests.system.harness import Exporter, started, wait_for
from tests.system.sending import journal

from fleetpulse.client import Monitor, Stats

LONG = 60.0
PROBLEM: dict[str, object] = {
    "type": "urn:fleetpulse:problem:invalid-input",
    "title": "It does not fit",
    "detail": "one is bad",
}


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    yield from started(Exporter(tmp_path_factory.mktemp("exporter")))


@pytest.fixture
def monitor(exporter: Exporter, tmp_path: Path) -> Iterator[Monitor]:
    with Monitor(exporter.url, source="tests", spool=tmp_path / "spool") as one:
        yield one


def rows(exporter: Exporter, scratch: Path, what: str, where: str) -> list[tuple[Any, ...]]:
    return journal(exporter.data_dir, f"SELECT {what} FROM requests WHERE {where} ORDER BY id", scratch)  # noqa: S608


def adds_up(stats: Stats) -> bool:
    came = stats.logged + stats.adopted + stats.unlogged
    return came == stats.spooled + stats.sent + stats.duplicates + stats.rejected + stats.dropped


def test_everything_said_arrives(monitor: Monitor, exporter: Exporter, tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "source": "web",
        "user_id": "u1",
        "command": "ai:你好\n",
        "status": "error",
        "execution_time": 0.5,
        "tokens_used": 160,
        "cost": 0.25,
        "model": "gpt-4o",
        "provider": "openai",
        "input_tokens": 100,
        "output_tokens": 50,
        "cached_tokens": 20,
        "error": "boom",
        "session_id": "s1",
        "trace_id": "t1",
        "account_id": "a1",
    }
    request_id = monitor.log(**said, metadata={"k": [1, "二"]}, timestamp="2026-01-02T03:04:05Z")
    assert monitor.flush(LONG)
    (row,) = rows(exporter, tmp_path, f"{', '.join(said)}, metadata", f"request_id = '{request_id}'")
    assert dict(zip(said, row, strict=False)) == said
    assert json.loads(row[-1]) == {"k": [1, "二"]}


async def test_awaited(monitor: Monitor, exporter: Exporter, tmp_path: Path) -> None:
    ids = [await monitor.log_request(command="awaited") for _ in range(3)]
    assert await asyncio.to_thread(monitor.flush, LONG)
    assert [row[0] for row in rows(exporter, tmp_path, "request_id", "command = 'awaited'")] == ids


async def test_activities_arrive_beside_calls(monitor: Monitor, exporter: Exporter, tmp_path: Path) -> None:
    ids = [monitor.activity(account_id="both", kind="message", count=3, account_name="Anna")]
    monitor.log(command="beside")
    ids.append(await monitor.log_activity(account_id="both", kind="reply", reply_time=1.5, metadata={"k": 1}))
    monitor.activity(account_id="both", kind="reply", activity_id=ids[1])
    assert await asyncio.to_thread(monitor.flush, LONG)
    assert (monitor.stats().sent, monitor.stats().duplicates) == (3, 1)
    query = "SELECT activity_id, kind, number, reply_time FROM activities WHERE account_id = 'both' ORDER BY id"
    stored = journal(exporter.data_dir, query, tmp_path)
    assert stored == [(ids[0], "message", 3, None), (ids[1], "reply", 1, 1.5)]
    assert len(rows(exporter, tmp_path, "id", "command = 'beside'")) == 1
    assert adds_up(monitor.stats())


@pytest.mark.parametrize("fields", [{"kind": "reply"}, {"account_id": "a", "kind": "message", "count": 0}, {}])
def test_an_activity_that_cannot_be_is_counted_and_never_raises(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    assert monitor.activity(**fields) == ""
    wait_for(lambda: "no record can be made of a call or activity: ValueError(" in caplog.text)
    assert (monitor.stats().rejected, monitor.stats().unlogged) == (1, 1)


def test_in_any_event_loop(monitor: Monitor, exporter: Exporter, tmp_path: Path) -> None:
    async def several() -> None:
        await asyncio.gather(*(monitor.log_request(command="loops") for _ in range(10)))

    for run in (asyncio.run, uvloop.run, asyncio.run):
        run(several())
    assert monitor.flush(LONG)
    assert len(rows(exporter, tmp_path, "id", "command = 'loops'")) == 30


def test_from_many_threads(exporter: Exporter, tmp_path: Path) -> None:
    ids: list[str] = []
    with Monitor(exporter.url, spool=tmp_path / "spool", queue_size=100_000) as monitor:
        threads = [
            threading.Thread(target=lambda: ids.extend(monitor.log(command="threads") for _ in range(1_000)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monitor.flush(LONG)
        assert (monitor.stats().sent, monitor.stats().dropped) == (8_000, 0)
    stored = [row[0] for row in rows(exporter, tmp_path, "request_id", "command = 'threads'")]
    assert len(stored) == 8_000
    assert set(stored) == set(ids)


def test_the_same_id_twice_counts_once(monitor: Monitor) -> None:
    for _ in range(3):
        monitor.log(request_id="the same")
    assert monitor.flush(LONG)
    assert (monitor.stats().sent, monitor.stats().duplicates) == (1, 2)


class Hostile:
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "fields",
    [
        {"execution_time": math.nan},
        {"cost": math.inf},
        {"user_id": Hostile()},
        {"cost": Hostile()},
        {"timestamp": 1e300},
        {"timestamp": Hostile()},
    ],
    ids=repr,
)
def test_what_cannot_be_said_is_counted_and_never_raises(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    assert monitor.log(**fields) == ""
    assert (monitor.stats().rejected, monitor.stats().unlogged) == (1, 1)
    wait_for(lambda: "no record can be made of a call" in caplog.text)
    assert monitor.log(command="good")
    assert monitor.flush(LONG) is False, "it was lost"
    assert monitor.flush(LONG) is True
    assert adds_up(monitor.stats())


def test_what_the_server_refuses_is_counted_and_told(
    monitor: Monitor, exporter: Exporter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        monitor.log(command="mixed", execution_time=-1.0 if number in (3, 7) else 1.0)
    assert monitor.flush(LONG) is False
    assert (monitor.stats().sent, monitor.stats().rejected) == (18, 2)
    assert len(rows(exporter, tmp_path, "id", "command = 'mixed'")) == 18
    assert "refuses records for good: execution_time: Input should be greater than or equal to 0" in caplog.text
    assert adds_up(monitor.stats())


def test_a_misspelt_field_costs_no_record(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    assert monitor.log(comand="chat")  # type: ignore[call-arg]  # what type checkers find
    assert monitor.flush(LONG)
    wait_for(lambda: "unknown fields of a call are left out: comand" in caplog.text)


def test_a_full_queue_refuses_the_newest_and_counts(exporter: Exporter, tmp_path: Path) -> None:
    with Monitor(exporter.url, spool=tmp_path / "spool", queue_size=10) as monitor:
        ids = [monitor.log(command="flood") for _ in range(5_000)]
        assert monitor.flush(LONG) is False
        stats = monitor.stats()
    assert stats.dropped == ids.count("") > 0
    assert stats.sent == 5_000 - stats.dropped
    assert adds_up(stats)
    stored = {row[0] for row in rows(exporter, tmp_path, "request_id", "command = 'flood'")}
    assert stored == {one for one in ids if one}


def test_a_signal_may_interrupt_a_call_and_log_too(monitor: Monitor) -> None:
    """Neither loses nor deadlocks: nothing on the caller's way holds a lock that the handler wants."""
    told = []
    before = signal.signal(signal.SIGALRM, lambda *_: told.append(monitor.log(command="handler")))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        wait_for(lambda: [monitor.log() for _ in range(200)] and len(told) > 50)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert monitor.flush(LONG) or monitor.stats().dropped
    assert adds_up(monitor.stats())


def test_an_object_may_log_while_it_is_collected(monitor: Monitor) -> None:
    class Node:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            monitor.log(command="collected")

    for _ in range(3_000):
        Node()
        monitor.log()
    gc.collect()
    assert monitor.flush(LONG)
    assert monitor.stats().sent == 6_000


def test_after_the_end_calls_are_counted_and_nothing_else(exporter: Exporter, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    monitor = Monitor(exporter.url, spool=tmp_path)
    monitor.log()
    assert monitor.close(LONG) is True
    assert monitor.log() == ""
    assert monitor.heartbeat(agent_id="late").agent_id == "late"
    assert (monitor.stats().sent, monitor.stats().dropped) == (1, 1)
    assert monitor.close() is False
    assert set(threading.enumerate()) - before == set()


def test_nothing_is_touched_before_the_first_use(tmp_path: Path) -> None:
    before = threading.active_count()
    monitor = Monitor(spool=tmp_path / "spool")
    assert (monitor.flush(), monitor.persist(), monitor.close(), astuple(monitor.stats())[:3]) == (
        True,
        True,
        True,
        (0, 0, 0),
    )
    off = Monitor(spool=tmp_path / "spool", enabled=False)
    with off.request() as call:
        call.tokens(1, 2)
    assert off.log() == ""
    off.heartbeat(agent_id="a")
    assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_cannot_work_switches_it_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLEETPULSE_URL", "exporter:8001")
    monitor = Monitor()
    assert [monitor.log(), monitor.log()] == ["", ""]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "must begin with http://" in caplog.text


# Servers that misbehave ------------------------------------------------------------------------------------------
def test_a_record_is_sent_until_it_is_acknowledged(tmp_path: Path) -> None:
    page = http("200 OK", b"<html>Sign in to the hotel's network</html>")
    wrong = http("202 Accepted", {"accepted": 7, "duplicates": 0, "rejected": []})
    script: list[Answer] = [page, b"\x00garbage\r\n\r\n", wrong, http("500 Internal Server Error"), acknowledge]
    with serving(*script, closing=True) as server, Monitor(server.url, spool=tmp_path) as monitor:
        monitor.log(request_id="one")
        assert wait_for(lambda: monitor.flush(1))
        assert monitor.stats().errors == 4
    assert {json.loads(request.lines[0])["request_id"] for request in server.requests} == {"one"}
    assert len(server.requests) == 5


def test_calls_that_are_kept_while_activities_fail_count_once(tmp_path: Path) -> None:
    """A batch is done with once both its parts are: the part that was kept before is a duplicate then."""
    half = http("202 Accepted", {"accepted": 0, "duplicates": 1, "rejected": []})
    script: list[Answer] = [acknowledge, http("503 Service Unavailable"), half, acknowledge]
    with serving(*script) as server, Monitor(server.url, spool=tmp_path, interval=0.5) as monitor:
        monitor.log(request_id="r")
        monitor.activity(account_id="a", kind="error", activity_id="x")
        assert wait_for(lambda: monitor.flush(1))
        assert (monitor.stats().sent, monitor.stats().duplicates) == (1, 1)
        assert adds_up(monitor.stats())
    paths = [request.line.split()[1].rpartition("/")[2] for request in server.requests]
    assert paths == ["log-request", "activity"] * 2


def test_a_server_that_stalls_delays_nobody_and_endangers_nothing(tmp_path: Path) -> None:
    with serving(lambda *_: None) as server:
        monitor = Monitor(server.url, spool=tmp_path, timeout=LONG, exit_timeout=0.2)
        monitor.log()
        wait_for(lambda: server.requests)
        for _ in range(3):
            monitor.log()
            assert monitor.persist(LONG)
        assert monitor.flush(0.1) is False
        assert monitor.close() is False


def test_the_servers_own_pause_is_kept_to(tmp_path: Path) -> None:
    busy = http("503 Service Unavailable", b"", "Retry-After: 250")
    with serving(busy, acknowledge) as server, Monitor(server.url, spool=tmp_path) as monitor:
        monitor.log()
        wait_for(lambda: monitor.stats().errors)
        assert monitor.flush(1.5) is False
        assert len(server.requests) == 1


def test_a_credential_that_does_not_hold_costs_no_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    refused = http(
        "401 Unauthorized", {"type": "urn:fleetpulse:problem:unauthenticated", "detail": "unknown app key"}
    )
    with serving(refused, refused, acknowledge) as server:
        with Monitor(server.url, spool=tmp_path, app_key="k", app_secret="hidden-one") as monitor:  # noqa: S106
            monitor.log()
            wait_for(lambda: monitor.stats().errors)
            assert monitor.stats().spooled == 1
            assert monitor.stats().last_error == "HTTP 401: unknown app key"
            assert wait_for(lambda: monitor.flush(1))
        assert server.requests[0].headers["x-app-secret"] == "hidden-one"
    assert "HTTP 401: unknown app key; 1 records wait in" in caplog.text
    assert "hidden-one" not in caplog.text


@pytest.mark.parametrize("status", ["422 Unprocessable Content", "413 Content Too Large", "400 Bad Request"])
def test_a_batch_refused_as_a_whole_is_taken_apart(tmp_path: Path, status: str) -> None:
    taken: list[str] = []

    def picky(connection: socket.socket, request: Request) -> None:
        commands = [json.loads(line)["command"] for line in request.lines]
        if "bad" in commands:
            connection.sendall(http(status, PROBLEM))
        else:
            taken.extend(commands)
            acknowledge(connection, request)

    with serving(picky) as server, Monitor(server.url, spool=tmp_path, interval=0.5) as monitor:
        for number in range(50):
            monitor.log(command="bad" if number in (13, 14, 40) else str(number))
        assert monitor.flush(LONG) is False
        assert (monitor.stats().sent, monitor.stats().rejected) == (47, 3)
    assert taken == [str(number) for number in range(50) if number not in (13, 14, 40)]


def test_without_a_spool_records_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    busy = http("503 Service Unavailable")
    with serving(busy, busy, acknowledge) as server, Monitor(server.url, spool=None) as monitor:
        for _ in range(5):
            monitor.log()
        wait_for(lambda: monitor.stats().errors)
        assert monitor.persist(LONG) is False
        assert monitor.stats().unsafe == 5
        assert wait_for(lambda: monitor.flush(1))
        assert monitor.stats().sent == 5
    assert list(tmp_path.iterdir()) == []


# Heartbeats ------------------------------------------------------------------------------------------------------
def agent(exporter: Exporter, agent_id: str, pool_id: str = "default") -> dict[str, Any]:
    agents = exporter.get(f"/api/v1/agent-pools/{pool_id}/agents")["agents"]
    return next((one for one in agents if one["agent_id"] == agent_id), {})


def test_heartbeats_tell_status_load_and_tasks(monitor: Monitor, exporter: Exporter) -> None:
    beat = monitor.heartbeat(
        agent_id="worker/1", interval=0.1, agent_name="Worker", pool_id="clients", measure=lambda: (12.5, 50.0)
    )
    wait_for(lambda: agent(exporter, "worker/1", "clients").get("status") == "online")
    with beat.task("plan", task_id="t-1", workspace_id="ws"):
        beat.status = "busy"
        one = wait_for(lambda: (found := agent(exporter, "worker/1", "clients"))["status"] == "busy" and found)
        assert (one["cpu_usage"], one["memory_usage"], one["agent_name"]) == (12.5, 50.0, "Worker")
        task = one["running_tasks"][0]
        assert (task["task_id"], task["task_type"], task["workspace_id"]) == ("t-1", "plan", "ws")
    wait_for(lambda: agent(exporter, "worker/1", "clients")["running_tasks"] == [])
    monitor.close()
    assert agent(exporter, "worker/1", "clients")["status"] == "offline"


def test_running_tasks_of_the_programs_own(monitor: Monitor, exporter: Exporter) -> None:
    monitor.heartbeat(agent_id="lists", interval=0.1, running_tasks=[1, "two", {"task_id": 3, "task_type": "x"}])
    monitor.heartbeat(agent_id="calls", interval=0.1, running_tasks=lambda: (number for number in range(3)))
    wait_for(lambda: len(agent(exporter, "lists").get("running_tasks", [])) == 3)
    wait_for(lambda: len(agent(exporter, "calls").get("running_tasks", [])) == 3)


def test_a_function_that_fails_is_told_and_tried_again(
    monitor: Monitor, exporter: Exporter, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()
    broken.set()

    def tasks() -> list[int]:
        if broken.is_set():
            raise RuntimeError("no list today")
        return [1]

    monitor.heartbeat(agent_id="fails", interval=0.1, running_tasks=tasks)
    wait_for(lambda: "no heartbeat of fails can be made: RuntimeError('no list today')" in caplog.text)
    broken.clear()
    wait_for(lambda: agent(exporter, "fails"))


def test_a_heartbeat_that_stops_says_offline(monitor: Monitor, exporter: Exporter) -> None:
    beat = monitor.heartbeat(agent_id="stops", interval=0.1)
    wait_for(lambda: agent(exporter, "stops").get("status") == "online")
    beat.stop()
    wait_for(lambda: agent(exporter, "stops")["status"] == "offline")


@pytest.mark.parametrize("interval", [0, -5, math.nan, "soon"])
def test_an_interval_that_is_none_never_raises(monitor: Monitor, interval: Any) -> None:
    assert monitor.heartbeat(agent_id="odd", interval=interval).agent_id == "odd"


def test_a_monitor_of_heartbeats_alone_starts_no_other_thread(exporter: Exporter, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    monitor = Monitor(exporter.url, spool=tmp_path / "spool")
    monitor.heartbeat(agent_id="alone", interval=0.1)
    wait_for(lambda: agent(exporter, "alone"))
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["fleetpulse-heartbeats"]
    assert (monitor.flush(), monitor.persist(), monitor.close()) == (True, True, True)
    assert agent(exporter, "alone")["status"] == "offline"
    assert list(tmp_path.iterdir()) == []
