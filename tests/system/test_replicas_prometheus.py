"""Two replicas as two targets of one real Prometheus, with the project's rules: nothing counted twice or missed.

Prometheus scrapes and evaluates every second here, AgentSilent waits for two and looks seven back, so false alarms
that the shipped intervals would cover up show, and the test is quick.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.cluster.redis_server import RedisServer
from tests.grafana.queries import asked
from tests.system.harness import Exporter, Stack, get_json
from tests.system.replicas import until

AGENTS = tuple(f"agent-{number}" for number in range(12))
SILENCE = 8
GONE = 2.0
BUDGET = '[{"name": "all", "limit_usd": 1000}]'


class Pair:
    """Two exporters, and a Prometheus that scrapes both."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        shared = {
            "FLEETPULSE_CLUSTER__REDIS_URL": redis.url,
            "FLEETPULSE_CLUSTER__GONE_SECONDS": str(GONE),
            "FLEETPULSE_THRESHOLDS__HEARTBEAT_SILENCE_SECONDS": str(SILENCE),
            "FLEETPULSE_BUDGETS": BUDGET,
        }
        self.stack = Stack(folder / "a", **shared, FLEETPULSE_CLUSTER__REPLICA="a")
        self.a = self.stack.exporter
        self.b = Exporter(folder / "b", **shared, FLEETPULSE_CLUSTER__REPLICA="b")
        config = folder / "a" / "prometheus"
        targets = [each.url.removeprefix("http://") for each in (self.a, self.b)]
        (config / "targets" / "fleetpulse.yml").write_text(json.dumps([{"targets": targets}]))
        hurry(config / "prometheus.yml", r"(scrape_interval|scrape_timeout|evaluation_interval): \d+s", r"\1: 1s")
        for rules in (config / "rules").glob("*.yml"):
            hurry(rules, r"(?m)^    interval: \d+s", "    interval: 1s")
        hurry(config / "rules" / "agents.yml", r"for: 90s", "for: 2s")
        hurry(config / "rules" / "agents.yml", r"\[1m\]", "[7s]")

    def start(self) -> None:
        """Starts everything, until each knows the other."""
        self.b.start(wait=False)
        self.stack.start()
        self.b.wait_ready()

    def stop(self) -> None:
        """Stops everything."""
        self.stack.stop()
        self.b.stop()

    def joined(self) -> bool:
        """Whether the replicas know each other, and Prometheus both."""
        known = all(each.metrics()["fleetpulse_cluster_replicas"] == 1 for each in (self.a, self.b))
        return known and self.stack.value('sum(up{job="fleetpulse"})') == 2

    def over(self, expression: str, begin: float, end: float | None = None) -> list[dict[str, Any]]:
        """Every second's value of an expression between two times."""
        asked = {"query": expression, "start": begin, "end": end or time.time(), "step": 1}
        answer = get_json(f"{self.stack.prometheus_url}/api/v1/query_range?{urlencode(asked)}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, expression: str, begin: float, end: float | None = None) -> list[float]:
        """The same of the one series there is; none where there is no series."""
        result = self.over(expression, begin, end)
        assert len(result) <= 1, f"{expression} gives {len(result)} series"
        return [float(value) for _, value in result[0]["values"]] if result else []

    def silent(self, begin: float, end: float | None = None) -> dict[str, int]:
        """Who was told to be silent, and for how many seconds."""
        found = self.over('ALERTS{alertname=~"AgentSilent|AgentPoolSilent",alertstate="firing"}', begin, end)
        return {each["metric"].get("agent_id", each["metric"]["pool_id"]): len(each["values"]) for each in found}


def hurry(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count, (path, pattern)
    path.write_text(text)


@pytest.fixture
async def pair(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Pair]:
    both = Pair(tmp_path, redis)
    try:
        await asyncio.to_thread(both.start)
        await until(both.joined)
        yield both
    finally:
        await asyncio.to_thread(both.stop)


async def beat(exporter: Exporter, agent_id: str, status: str = "busy", pool: str = "p") -> None:
    state = {"status": status, "cpu_usage": 10, "memory_usage": 20, "pool_id": pool}
    state |= {"running_tasks": [{"task_id": "t"}]}
    code, _ = await asyncio.to_thread(exporter.post, f"/api/v1/agents/{agent_id}/ping", state)
    assert code == 202


@asynccontextmanager
async def beating(*exporters: Exporter) -> AsyncIterator[None]:
    """Every agent reports every half second, to the next exporter each time."""

    async def report() -> None:
        turn = 0
        while True:
            turn += 1
            for number, agent_id in enumerate(AGENTS):
                await beat(exporters[(number + turn) % len(exporters)], agent_id)
            await asyncio.sleep(0.4)

    task = asyncio.create_task(report())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def panel(title: str) -> str:
    """The first query of a dashboard's panel, with its variables put in place."""
    return next(each.expr for each in asked() if each.panel == title)


def agents_shown(pair: Pair) -> float | None:
    return pair.stack.value("count(fleetpulse_agent_up)")


async def test_agents_that_report_to_both_count_once_at_every_scrape_and_are_never_silent(pair: Pair) -> None:
    begun = time.time()
    async with beating(pair.a, pair.b):
        await until(lambda: agents_shown(pair) == len(AGENTS))
        await asyncio.sleep(3)  # one scrape interval after they were first shown, and some
        steady = time.time()
        await asyncio.sleep(SILENCE + 4)
        ended = time.time()
    for expression in (
        "sum(fleetpulse_agents)",
        'sum(fleetpulse_agents{status="busy"})',
        "sum(fleetpulse_agent_up)",
    ):
        assert set(pair.values(expression, steady, ended)) == {len(AGENTS)}, expression
    tasks = "sum(max by (pool_id, agent_id) (fleetpulse_agent_running_tasks))"
    assert set(pair.values(tasks, steady, ended)) == {len(AGENTS)}
    assert pair.silent(begun, ended) == {}


async def test_goodbyes_moves_silence_and_a_killed_replica_are_told_right(pair: Pair) -> None:
    begun = time.time()
    async with beating(pair.a, pair.b):
        await until(lambda: agents_shown(pair) == len(AGENTS))
        for number in range(6):
            await beat(pair.a, f"left-{number}")  # each says goodbye to the other one, once
            await beat(pair.b, f"left-{number}", "offline")
            await beat(pair.a, f"lost-{number}")  # each was heard by one, last by the other, and falls silent
            await beat(pair.b, f"lost-{number}")
            await beat(pair.a, f"moved-{number}", pool="q")
            await beat(pair.b, f"moved-{number}", pool="r")
        await until(lambda: pair.stack.value('sum(fleetpulse_agents{status="offline"})') == 6)
        await until(lambda: pair.stack.value('sum(fleetpulse_agents{pool_id="r"})') == 6)
        assert pair.stack.value('sum(fleetpulse_agents{pool_id="q"})') is None
        lost = {f"lost-{number}" for number in range(6)} | {f"moved-{number}" for number in range(6)} | {"r"}
        await until(lambda: set(pair.silent(begun)) == lost)
        assert pair.stack.value("sum(fleetpulse_agents)") == len(AGENTS) + 18

    async with beating(pair.a):
        killed = time.time()
        await asyncio.to_thread(pair.b.kill)
        await until(lambda: agents_shown(pair) == len(AGENTS) + 18)
        await asyncio.sleep(SILENCE + 3)
        ended = time.time()
    assert max(pair.values("sum(fleetpulse_agents)", killed, ended)) == len(AGENTS) + 18
    told = pair.silent(killed + 1, ended - 1)
    lost.discard("r")  # a pool's count goes down with a replica; AgentPoolSilent's 90 s wait that out
    assert {name for name in told if name != "r"} == lost
    firing = pair.values('count(ALERTS{alertname="AgentSilent",alertstate="firing"})', killed, ended)
    assert set(firing) == {len(lost)}, "nobody's silence ends for a moment because a replica does"
    assert not set(pair.silent(begun, ended)) & {*AGENTS, *(f"left-{number}" for number in range(6))}


async def test_requests_cost_and_budgets_add_up_and_stay_when_a_replica_is_killed(pair: Pair) -> None:
    async def report(exporter: Exporter, name: str, count: int) -> None:
        rows = [
            {"request_id": f"{name}-{number}", "source": "s", "status": "success", "execution_time": 1, "cost": 0.5}
            for number in range(count)
        ]
        _, answer = await asyncio.to_thread(exporter.post, "/api/log-request", rows)
        assert answer["accepted"] == count, answer

    await report(pair.a, "a", 30)
    await report(pair.b, "b", 12)
    spent = "budget:fleetpulse_budget_spent_usd:sum"
    recorded = "job:fleetpulse_requests:increase5m"
    await until(lambda: pair.stack.value(spent) == 21)
    await until(lambda: pair.stack.value(recorded) == 42)
    for title, value in (("Requests", 42), ("Cost", 21)):
        assert pair.stack.value(panel(title)) == value, title
    killed = time.time()
    await asyncio.to_thread(pair.b.kill)
    await until(lambda: pair.stack.value('sum(up{job="fleetpulse"})') == 1)
    await report(pair.a, "more", 2)
    await until(lambda: pair.stack.value(spent) == 22)
    await asyncio.to_thread(pair.b.start)
    await until(lambda: pair.stack.value(recorded) == 44)
    await until(lambda: pair.stack.value('sum(up{job="fleetpulse"})') == 2)
    assert min(pair.values(spent, killed)) == 21
    assert max(pair.values(spent, killed)) == 22
