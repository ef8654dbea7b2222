"""Every query of every dashboard, asked of a real Prometheus that scrapes an exporter with real traffic in it."""

import json
import math
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from typing import Any

import pytest
from tests.grafana.queries import Asked, asked
from tests.system.harness import Stack, post, wait_for

RANGE = 3_600.0
WEB, BOT = f"web-{uuid.uuid4().hex[:8]}", f"bot-{uuid.uuid4().hex[:8]}"
SOURCES = f"{WEB}|{BOT}"
SECONDS = (0.4, 1.0, 1.7, 2.5, 4.9, 7.5)
AGENTS = (("pool-a", "alpha", "busy"), ("pool-a", "beta", "idle"), ("pool-b", "gamma", "offline"))
QUERIES = [pytest.param(each, id=str(each)) for each in asked(RANGE, source=SOURCES)]
Samples = dict[str, float]


def requests(wave: str) -> list[dict[str, Any]]:
    """A batch that has every kind of request: both sources, models, outcomes, times, priced or not."""
    kinds = [("success", "gpt-4o", 0.01), ("error", "gpt-4o-mini", 0.002), ("timeout", None, None)]
    return [
        {
            "request_id": f"{wave}-{source}-{status}-{seconds}",
            "source": source,
            "user_id": "u1",
            "command": "ai:你好",
            "status": status,
            "execution_time": seconds,
            "input_tokens": 100,
            "cached_tokens": 40,
            "output_tokens": 20,
            "tokens_used": 130,
            **({"model": model, "cost": cost} if model else {}),
        }
        for source in (WEB, BOT)
        for status, model, cost in kinds
        for seconds in SECONDS
    ]


SENT = [*requests("first"), *requests("second")]


@pytest.fixture(scope="module")
def fed(stack: Stack) -> Stack:
    """The stack after two waves of requests, each scraped, and a heartbeat of every agent."""
    for pool, agent, status in AGENTS:
        heartbeat = {"pool_id": pool, "status": status, "cpu_usage": 45.5, "memory_usage": 91}
        task = {"task_id": 1, "task_type": "plan", "workspace_id": "ws"}
        answer, _ = post(f"{stack.exporter_url}/api/v1/agents/{agent}/ping", heartbeat | {"running_tasks": [task]})
        assert answer < 300
    accounts(stack)
    send(stack, requests("first"), total=len(SENT) // 2)
    accounts(stack)
    send(stack, requests("second"), total=len(SENT))
    return stack


def accounts(stack: Stack) -> None:
    """What two accounts do: everything that is counted, of one more than of the other."""
    kinds = ({"kind": "message"}, {"kind": "reply", "reply_time": 1.5}, {"kind": "redpacket"}, {"kind": "error"})
    activities = [
        {"account_id": account_id, "count": count, **kind}
        for account_id, count in (("anna", 5), ("ben", 1))
        for kind in kinds
    ]
    status, answer = post(f"{stack.exporter_url}/api/v1/group-ai/monitor/accounts/activity", activities)
    assert (status, answer["accepted"]) == (202, len(activities))


def send(stack: Stack, wave: list[dict[str, Any]], total: int) -> None:
    """Sends a batch, and waits until Prometheus has seen as many requests as were sent by then."""
    status, answer = post(f"{stack.exporter_url}/api/log-request", wave)
    assert (status, answer["accepted"]) == (202, len(wave))
    counted = f'sum(fleetpulse_requests_total{{source=~"{SOURCES}"}})'
    wait_for(lambda: stack.value(counted) == total, what=f"{total} requests in Prometheus")


def ask(stack: Stack, query: Asked) -> list[dict[str, Any]]:
    """What Prometheus answers, over the last hour, asked as Grafana asks."""
    now = time.time()
    if query.instant:
        path, when = "query", {"time": f"{now}"}
    else:
        start, end = (math.floor(each / query.step) * query.step for each in (now - RANGE, now))
        path, when = "query_range", {"start": f"{start}", "end": f"{end}", "step": f"{query.step}"}
    form = urllib.parse.urlencode({"query": query.expr, **when}).encode()
    with urllib.request.urlopen(f"{stack.prometheus_url}/api/v1/{path}", form, timeout=60) as answer:  # noqa: S310
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def numbers(result: list[dict[str, Any]]) -> list[float]:
    """Every value that can be shown."""
    values = [float(pair[1]) for series in result for pair in (series.get("values") or [series["value"]])]
    return [value for value in values if math.isfinite(value)]


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_has_data(fed: Stack, query: Asked) -> None:
    wait_for(lambda: numbers(ask(fed, query)), what=f"data for {query.expr}")


def shown(stack: Stack, panel: str, label: str = "", ref_id: str = "A") -> Samples:
    """What a panel shows, by the value of a label; a graph's steps are summed."""
    (query,) = (each for each in asked(RANGE, source=SOURCES) if (each.panel, each.ref_id) == (panel, ref_id))
    result = ask(stack, query)
    return {series["metric"].get(label, ""): round(sum(numbers([series])), 9) for series in result}


def count(key: str) -> dict[str, int]:
    return dict(Counter(str(request.get(key) or "none") for request in SENT))


TOTALS = {
    "Requests": len(SENT),
    "Success rate": 1 / 3,
    "Average time": sum(SECONDS) / len(SECONDS),
    "Tokens": 130 * len(SENT),
    "Cost": sum(request.get("cost", 0) for request in SENT),
    "Failures": len(SENT) * 2 / 3,
    "Unpriced requests": len(SENT) / 3,
}


@pytest.mark.parametrize("panel", TOTALS)
def test_a_card_shows_the_exact_total(fed: Stack, panel: str) -> None:
    assert shown(fed, panel) == {"": pytest.approx(TOTALS[panel], rel=1e-9)}


def test_shares_are_exact(fed: Stack) -> None:
    assert shown(fed, "Sources", "source") == count("source")
    assert shown(fed, "Requests by status", "status") == count("status")
    assert shown(fed, "By model", "model") == count("model")


def test_response_times_fall_into_the_documented_ranges(fed: Stack) -> None:
    for ref_id, in_range in zip("ABCDE", (2, 1, 1, 1, 1), strict=True):
        want = in_range * len(SENT) / len(SECONDS)
        assert shown(fed, "Requests by response time", ref_id=ref_id) == {"": want}


def test_bars_add_up_to_the_totals(fed: Stack) -> None:
    assert shown(fed, "Requests by hour", "status") == count("status")
    assert sum(shown(fed, "Cost by day", "source").values()) == pytest.approx(TOTALS["Cost"])
    tokens = {"input": 60, "cached": 40, "output": 20, "unattributed": 10}
    want = {kind: each * len(SENT) for kind, each in tokens.items()}
    assert shown(fed, "Tokens by hour", "kind") == want


def test_agents_show_as_they_reported(fed: Stack) -> None:
    mine = {agent: pool for pool, agent, _ in AGENTS}
    assert {"alpha", "beta"} <= set(shown(fed, "CPU by agent", "agent_id"))
    memory = shown(fed, "Memory by agent", "agent_id")
    assert memory["alpha"] == 0.91
    lost = shown(fed, "Silent and offline agents", "agent_id")
    assert {agent for agent in lost if agent in mine} == {"gamma"}
