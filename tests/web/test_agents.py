"""Heartbeats and agent pools, as CONTRACT A has them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.web.server import NDJSON, PINGS, Answer, Server, heartbeat, new_id
from websockets.sync.client import connect

POOLS = "/api/v1/agent-pools"
MAX_INT = 2**53 - 1


def ping(server: Server, agent_id: str, **changes: Any) -> Answer:
    return server.give(f"/api/v1/agents/{quote(agent_id, safe='')}/ping", heartbeat(**changes))


def agents(server: Server, pool_id: str) -> list[dict[str, Any]]:
    answer = server.ask(f"{POOLS}/{quote(pool_id, safe='')}/agents")
    assert answer.status == 200, answer
    document = answer.json
    assert (document["pool_id"], document["next_cursor"]) == (pool_id, None)
    listed: list[dict[str, Any]] = document["agents"]
    return listed


@pytest.fixture
def pool() -> str:
    """A pool of this test's own."""
    return new_id("pool")


def test_a_heartbeat_shows_as_it_was_told(server: Server, pool: str) -> None:
    tasks = [
        {"task_id": 123, "task_type": "plan", "workspace_id": "ws-1", "started_at": "2025-01-07T10:30:00Z"},
        {"task_id": "t-1"},
    ]
    agent = new_id("agent")
    answer = ping(server, agent, agent_name="Агент 1", pool_id=pool, running_tasks=tasks, mystery=1)
    assert (answer.status, answer.json) == (202, {"accepted": 1})
    (shown,) = agents(server, pool)
    assert shown.pop("last_update_time").endswith("Z")
    assert shown == {
        "agent_id": agent,
        "agent_name": "Агент 1",
        "cpu_usage": 45.5,
        "memory_usage": 62.3,
        "running_tasks": [tasks[0], {"task_id": "t-1", "task_type": "task"}],
        "status": "busy",
    }
    labels = f'{{pool_id="{pool}",agent_id="{agent}"}}'
    shown_series = {
        name: server.metrics()[f"fleetpulse_agent_{name}{labels}"]
        for name in ("up", "cpu_usage_ratio", "memory_usage_ratio", "running_tasks")
    }
    assert shown_series == {"up": 1, "cpu_usage_ratio": 0.455, "memory_usage_ratio": 0.623, "running_tasks": 2}


def test_the_newest_heartbeat_counts(server: Server, pool: str) -> None:
    agent = new_id("agent")
    ping(server, agent, pool_id=pool)
    ping(server, agent, pool_id=pool, status="Idle", cpu_usage=0, memory_usage=100)
    (shown,) = agents(server, pool)
    assert (shown["status"], shown["cpu_usage"], shown["memory_usage"]) == ("idle", 0, 100)
    ping(server, agent, pool_id=pool, status="offline")
    assert server.metrics()[f'fleetpulse_agent_up{{pool_id="{pool}",agent_id="{agent}"}}'] == 0


def test_an_agent_is_in_one_pool(server: Server, pool: str) -> None:
    agent, other = new_id("agent"), new_id("pool")
    ping(server, agent, pool_id=pool)
    ping(server, agent, pool_id=other)
    assert [one["agent_id"] for one in agents(server, other)] == [agent]
    server.ask(f"{POOLS}/{pool}/agents").problem(404, "not-found")
    ping(server, agent)
    assert agent in [one["agent_id"] for one in agents(server, "default")]


GOOD: dict[str, list[Any]] = {
    "cpu_usage": [0, 100, -0.0, "45.5", 1e-300],
    "memory_usage": [0, 100],
    "status": ["x" * 64, "空闲"],
    "running_tasks": [[], [{"task_id": 0}], [{"task_id": MAX_INT}], [{"task_id": 1}] * 1_000],
    "agent_name": [None, "n" * 128],
    "pool_id": [None, "p" * 128, "a/b", '"\\'],
}
BAD: dict[str, list[Any]] = {
    "cpu_usage": [None, -0.1, 100.1, float("nan"), float("inf"), 10**400, "busy", []],
    "memory_usage": [None, -1, 101, float("-inf")],
    "status": [None, "", " ", "x" * 65, 1, "a\nb"],
    "running_tasks": [
        None,
        {},
        [None],
        [{}],
        [{"task_id": -1}],
        [{"task_id": 1.5}],
        [{"task_id": MAX_INT + 1}],
        [{"task_id": 1, "started_at": "0001-01-01T00:00:00+14:00"}],
        [{"task_id": 1}] * 1_001,
    ],
    "agent_name": ["", "n" * 129, "a\0"],
    "pool_id": ["", "p" * 129, "a\r\nb", 5],
}


def cases(values: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, listed in values.items() for value in listed]


@pytest.mark.parametrize(("field", "value"), cases(GOOD))
def test_good_values(server: Server, field: str, value: Any) -> None:
    assert ping(server, new_id("agent"), **{field: value}).status == 202


@pytest.mark.parametrize(("field", "value"), cases(BAD))
def test_bad_values_are_422_and_change_nothing(server: Server, pool: str, field: str, value: Any) -> None:
    agent = new_id("agent")
    ping(server, agent, pool_id=pool, status="before")
    document = ping(server, agent, **{"pool_id": pool, field: value}).problem(422, "invalid-input")
    assert document["errors"][0]["loc"][0] == field
    assert [one["status"] for one in agents(server, pool)] == ["before"]
    before = server.counted("heartbeat")
    assert server.give(PINGS, [heartbeat(**{field: value}) | {"agent_id": agent}]).json["accepted"] == 0
    after = server.counted("heartbeat")
    assert after["rejected"] - before["rejected"] == 1
    assert after["stored"] == before["stored"]


@pytest.mark.parametrize("agent_id", ["a" * 128, "agent 1", "агент", "a/b", "..", 'q"\\', "%"])
def test_ids_in_the_address_may_be_anything_printable(server: Server, pool: str, agent_id: str) -> None:
    assert ping(server, agent_id, pool_id=pool).status == 202
    assert [one["agent_id"] for one in agents(server, pool)] == [agent_id]


@pytest.mark.parametrize("agent_id", ["a" * 129, " ", "a\nb", "\0", "\x7f", "\u2028"])
def test_bad_ids_in_the_address_are_422(server: Server, agent_id: str) -> None:
    document = ping(server, agent_id).problem(422, "invalid-input")
    assert document["errors"]


def test_one_body_is_one_heartbeat(server: Server) -> None:
    server.give("/api/v1/agents/x/ping", [heartbeat()]).problem(422, "invalid-input")
    server.give("/api/v1/agents/x/ping", b"").problem(400, "malformed")


def test_many_heartbeats_in_one_request(server: Server, pool: str) -> None:
    beats = [heartbeat(agent_id=f"a{n}", pool_id=pool, cpu_usage=n) for n in range(5)]
    beats[1:1] = [heartbeat(), {"agent_id": "b"}]
    for body, headers in (
        (json.dumps(beats).encode(), {}),
        (b"\n".join(json.dumps(beat).encode() for beat in beats), NDJSON),
    ):
        answer = server.give(PINGS, body, headers)
        assert answer.status == 202
        assert answer.json["accepted"] == 5
        places = {item["index"]: item["errors"][0]["loc"] for item in answer.json["rejected"]}
        assert places == {1: ["agent_id"], 2: ["status"]}
    assert [(one["agent_id"], one["cpu_usage"]) for one in agents(server, pool)] == [(f"a{n}", n) for n in range(5)]
    assert server.give(PINGS, heartbeat(agent_id="alone", pool_id=pool)).json == {"accepted": 1, "rejected": []}
    assert server.give(PINGS, []).json == {"accepted": 0, "rejected": []}


def test_the_last_of_several_heartbeats_of_one_agent_counts(server: Server, pool: str) -> None:
    server.give(PINGS, [heartbeat(agent_id="a", pool_id=pool, cpu_usage=n) for n in range(9)])
    assert [one["cpu_usage"] for one in agents(server, pool)] == [8]


def test_agents_page_by_id(server: Server, pool: str) -> None:
    ids = sorted(f"agent-{n}" for n in range(25))
    server.give(PINGS, [heartbeat(agent_id=agent, pool_id=pool) for agent in ids])
    seen: list[str] = []
    cursor, pages = "", 0
    while True:
        page = server.ask(f"{POOLS}/{pool}/agents?limit=10&cursor={quote(cursor)}").json
        seen += [agent["agent_id"] for agent in page["agents"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert (seen, pages) == (ids, 3)
    exact = server.ask(f"{POOLS}/{pool}/agents?limit=25").json
    assert (len(exact["agents"]), exact["next_cursor"]) == (25, None)
    past = server.ask(f"{POOLS}/{pool}/agents?cursor=zzz").json
    assert (past["agents"], past["next_cursor"]) == ([], None)


def test_pools_page_by_name_and_sum_up_their_agents(server: Server) -> None:
    prefix = new_id("~")
    names = [f"{prefix}-{n}" for n in range(3)]
    for name in names:
        server.give(PINGS, [heartbeat(agent_id=f"{name}-{n}", pool_id=name, cpu_usage=n * 10) for n in range(3)])
        ping(server, f"{name}-gone", pool_id=name, status="offline")
    first = server.ask(f"{POOLS}?limit=2&cursor={prefix}").json
    second = server.ask(f"{POOLS}?limit=2&cursor={first['next_cursor']}").json
    pools = first["pools"] + second["pools"]
    assert [pool["pool_id"] for pool in pools][:3] == names
    mean = pytest.approx(62.3)
    counts = {"agents": 4, "online": 3, "offline": 1, "running_tasks": 0, "cpu_usage": 10, "memory_usage": mean}
    assert pools[0] == {"pool_id": names[0], **counts}


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1001", "1e2", "", "ten", "²", "1.0", " 5", "0" * 9 + "5", "1" + "0" * 5_000]
)
def test_a_limit_out_of_range_is_422(server: Server, limit: str) -> None:
    document = server.ask(f"{POOLS}?limit={quote(limit)}").problem(422, "invalid-input")
    assert document["errors"][0]["loc"] == ["query", "limit"]


def test_an_unknown_pool_is_404(server: Server) -> None:
    server.ask(f"{POOLS}/{new_id()}/agents").problem(404, "not-found")


def test_a_browser_sees_the_agents_and_their_updates(server: Server, pool: str) -> None:
    """What the document's page reads, message by message."""
    ping(server, "first", pool_id=pool)
    with connect(f"ws://127.0.0.1:{server.port}/ws/agent-pools/{pool}/metrics") as socket:
        initial = json.loads(socket.recv(30))
        assert (initial["type"], initial["pool_id"]) == ("initial_metrics", pool)
        assert initial["metrics"] == agents(server, pool)
        ping(server, "second", pool_id=pool, cpu_usage=99)
        update = json.loads(socket.recv(30))
        assert update == {"type": "metrics_update", "pool_id": pool, "metrics": agents(server, pool)[1]}
        ping(server, "second", pool_id=pool, status="offline")
        gone = json.loads(socket.recv(30))
        metrics = {"agent_id": "second", "status": "offline"}
        assert gone == {"type": "agent_offline", "pool_id": pool, "metrics": metrics}


def test_a_feed_of_all_pools_begins_with_all_agents(server: Server, pool: str) -> None:
    agent = new_id("agent")
    ping(server, agent, pool_id=pool)
    with connect(f"ws://127.0.0.1:{server.port}/ws/live?topics=agents") as socket:
        assert json.loads(socket.recv(30))["type"] == "subscribed"
        snapshot = json.loads(socket.recv(30))
    assert agent in [one["agent_id"] for one in snapshot["data"]]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Server]:
    """An exporter with room for three agents in two pools, one of them without series."""
    program = Server(
        tmp_path, FLEETPULSE_LIMITS__AGENTS="3", FLEETPULSE_LIMITS__POOLS="2", FLEETPULSE_LIMITS__AGENT_SERIES="2"
    )
    try:
        program.start()
        yield program
    finally:
        program.stop()


def test_past_the_limits_new_agents_are_refused_and_known_ones_are_not(small: Server) -> None:
    beats = [heartbeat(agent_id=f"a{n}", pool_id=f"p{n % 3}") for n in range(5)]
    answer = small.give(PINGS, [beats[0], {}, *beats[1:]])
    assert (answer.status, answer.json["accepted"]) == (202, 3)
    assert [item["index"] for item in answer.json["rejected"]] == [1, 3, 5]
    assert small.counted("heartbeat") == {"stored": 3, "duplicate": 0, "rejected": 1, "refused": 2}
    refused = ping(small, "a9", pool_id="p0")
    assert "limits.agents" in refused.problem(503, "overloaded")["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert small.give(PINGS, [heartbeat(agent_id="a9"), heartbeat(agent_id="a8")]).status == 503
    assert ping(small, "a0", pool_id="p0").status == 202
    assert small.metrics()["fleetpulse_agents_over_limit"] == 1
    counted = {name: value for name, value in small.metrics().items() if name.startswith("fleetpulse_agents{")}
    assert sum(counted.values()) == 3
