"""Every query of every dashboard, asked of a real Prometheus that scrapes an exporter with real traffic in it."""

import json
import math
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.grafana.queries import Asked, asked
from tests.system.harness import Stack, get_json, post, started, wait_for
from tests.system.listeners import hear, listeners, loud, notify
from tests.system.speaking import RULE, STREAM, Speaker, recording, speaking
from websockets.sync.client import connect

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


SAID = (("ann", "早上好"), ("ann", "紧急: 机器人停了"), ("ben", "我来看看"))  # twice


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    """A server whose messages are recorded."""
    with speaking() as it:
        yield it


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, speaker: Speaker) -> Iterator[Stack]:
    """A stack of this module's own, which records the speaker."""
    yield from started(Stack(tmp_path_factory.mktemp("dashboards"), **recording(speaker)))


@pytest.fixture(scope="module")
def fed(stack: Stack, speaker: Speaker) -> Iterator[Stack]:
    """The stack after two waves of requests, each scraped, a heartbeat of every agent, with people listening."""
    with listeners(stack.exporter_url) as listener:
        wait_for(lambda: speaker.heard, what="the stream is listened to")
        feed(stack, speaker)
        hear(listener, "update", topic="stats", key="*")
        yield stack


def feed(stack: Stack, speaker: Speaker) -> None:
    """Two waves of everything that is reported."""
    speak(stack, speaker, wave=1)
    for pool, agent, status in AGENTS:
        heartbeat = {"pool_id": pool, "status": status, "cpu_usage": 45.5, "memory_usage": 91}
        task = {"task_id": 1, "task_type": "plan", "workspace_id": "ws"}
        answer, _ = post(f"{stack.exporter_url}/api/v1/agents/{agent}/ping", heartbeat | {"running_tasks": [task]})
        assert answer < 300
    accounts(stack)
    send(stack, requests("first"), total=len(SENT) // 2)
    accounts(stack)
    loud(stack.exporter_url)
    notify(stack.exporter_url)
    speak(stack, speaker, wave=2)
    send(stack, requests("second"), total=len(SENT))


def speak(stack: Stack, speaker: Speaker, wave: int) -> None:
    """A wave of messages, and waits until Prometheus has seen that they were recorded."""
    for user, text in SAID:
        speaker.say(user, text)
    counted = f'sum(fleetpulse_chat_messages_total{{stream="{STREAM}"}})'
    wait_for(lambda: stack.value(counted) == wave * len(SAID), what="recorded messages in Prometheus")


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


def newest(stack: Stack, panel: str, label: str, ref_id: str = "A") -> Samples:
    """The last value of each curve of a panel."""
    (query,) = (each for each in asked(RANGE) if (each.panel, each.ref_id) == (panel, ref_id))
    return {series["metric"].get(label, ""): numbers([series])[-1] for series in ask(stack, query)}


def test_who_listens_is_shown_by_endpoint(fed: Stack) -> None:
    def complete() -> bool:
        found = newest(fed, "Connections by endpoint", "endpoint")
        return found.get("live", 0) >= 1 and found.get("chat", 0) >= 2

    wait_for(complete, what="connections by endpoint")
    assert {"agents", "requests", "alerts", "stats"} <= set(newest(fed, "Subscriptions by topic", "topic"))


def test_what_waits_for_who_never_reads_is_of_its_topic(fed: Stack) -> None:
    """It is thrown out in the end, so what counts is the highest."""
    series = fed.query("max_over_time(fleetpulse_live_topic_buffered_bytes[1h])")
    highest = {each["metric"]["topic"]: float(each["value"][1]) for each in series}
    assert highest["requests"] > 64 * 2**10
    assert highest["agents"] == 0


def test_who_is_thrown_out_is_shown_with_what_they_listened_to(fed: Stack) -> None:
    evicted = 'fleetpulse_live_evicted_subscriptions_total{topic="agents", reason="flood"}'
    assert wait_for(lambda: fed.value(evicted), what="an eviction") >= 1
    assert "flood" in newest(fed, "Evictions by reason", "reason")
    assert {"flood", "invalid_input"} & set(newest(fed, "Inbound refused", "reason"))


def test_people_are_told_on_the_dashboard(fed: Stack) -> None:
    assert {"delivered", "stored"} <= set(newest(fed, "Notifications by outcome", "outcome"))
    assert "text" in newest(fed, "Chat messages by kind", "kind")


def test_recorded_messages_and_hits_are_exact(fed: Stack) -> None:
    for panel in ("In the time range", "Today"):
        assert shown(fed, panel) == {"": 2 * len(SAID)}
    assert shown(fed, "Kinds", "kind") == {"message": 2 * len(SAID)}
    assert shown(fed, "Messages by day", "stream") == {STREAM: 2 * len(SAID)}
    assert sum(shown(fed, "Messages by hour of the day").values()) == 2 * len(SAID)
    assert shown(fed, "Rule hits") == {"": 2}
    assert shown(fed, "Hits by rule", "rule") == shown(fed, "Hits by hour", "rule") == {RULE: 2}


def test_who_said_most_and_whether_anybody_listens(fed: Stack) -> None:
    assert shown(fed, "Most active users", "user_id") == {"ann": 4, "ben": 2}
    assert shown(fed, "Not connected") == {"": 0}
    assert newest(fed, "State", "stream") == {STREAM: 1}


def test_a_hit_is_an_alert_as_grave_as_its_rule(fed: Stack) -> None:
    fired = f'{fed.alertmanager_url}/api/v2/alerts?filter=alertname%3D"TapKeyword"'
    (alert,) = wait_for(lambda: get_json(fired), what="the alert in Alertmanager")
    labels = {name: alert["labels"][name] for name in ("severity", "alert_type", "stream", "rule")}
    assert labels == {"severity": "critical", "alert_type": "stream", "stream": STREAM, "rule": RULE}


def test_without_replicas_the_cards_can_say_so(fed: Stack) -> None:
    assert shown(fed, "Redis") == shown(fed, "Other replicas") == {"": -1}


def test_what_clients_say_is_shown_by_endpoint(fed: Stack) -> None:
    assert {"live", "chat"} <= set(newest(fed, "Received by endpoint", "endpoint"))


def test_the_monitor_hears_how_the_live_feed_does(fed: Stack) -> None:
    with connect(fed.exporter_url.replace("http", "ws", 1) + "/ws/admin/monitor") as monitor:
        stats = hear(monitor, "stats_update")["stats"]
    assert stats["active_users"] >= 2
    assert stats["live"]["topic"] == "*"
    assert stats["live"]["users"] >= 2
    assert stats["live"]["connections"]["chat"] >= 2
