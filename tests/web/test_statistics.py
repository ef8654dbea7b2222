"""What the statistics' addresses take and refuse, and what they say when Prometheus is away."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from tests.query.history import History, Journal, Logged, Remembering, Shown, every
from tests.system.harness import free_port, started
from tests.web.server import Server

MARCH = 1_741_737_600.0  # 2025-03-12T00:00:00Z
HOUR = 3_600.0
ADDRESSES = ("/api/metrics", "/api/hourly-stats", "/api/daily-stats")


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembering]:
    """A Prometheus that remembers a day: 24 requests, one an hour, of two sources."""
    logged = [
        Logged(MARCH + number * HOUR + 60, source="web" if number % 3 else "微信", model="gpt-4o", cost=0.25)
        for number in range(23)
    ]
    logged.append(Logged(MARCH + 23.5 * HOUR, source="web", model="none", status="error", cost=None, seconds=3.0))
    shown = Shown("a:1", Journal(logged), every(120.0, MARCH - HOUR, MARCH + 25 * HOUR))
    yield from started(History([shown]).program(tmp_path_factory.mktemp("past") / "prometheus"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, past: Remembering) -> Iterator[Server]:
    """An exporter that asks it."""
    folder = tmp_path_factory.mktemp("asked")
    url = {"FLEETPULSE_STACK__PROMETHEUS_INTERNAL_URL": past.url, "FLEETPULSE_TIMEZONE": "Asia/Shanghai"}
    yield from started(Server(folder, **url))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with nobody behind it."""
    away = {f"FLEETPULSE_STACK__{name}_PORT": str(free_port()) for name in ("PROMETHEUS", "ALERTMANAGER")}
    yield from started(Server(tmp_path_factory.mktemp("alone"), **away))


def day(asked: Server, address: str, query: str = "") -> dict[str, Any]:
    """The answer over the remembered day, by UTC."""
    answer = asked.ask(f"{address}?start=2025-03-12T00:00:00Z&end=2025-03-13T00:00:00Z{query}")
    assert answer.status == 200, answer
    document: dict[str, Any] = answer.json
    return document


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "query", ["start=2025-03-11&end=2025-03-14", "range=7d", "start=2025-03-12&end=2025-03-14&source=x"]
)
def test_answers_are_as_they_are_declared(asked: Server, address: str, query: str) -> None:
    document = asked.ask("/openapi.json").json
    good = document["paths"][address]["get"]["responses"]["200"]
    answer = asked.ask(f"{address}?{query}")
    assert answer.status == 200
    schema = document | good["content"]["application/json"]["schema"]
    assert [error.message for error in jsonschema_rs.iter_errors(schema, answer.json)] == []


def test_sums_over_a_window(asked: Server) -> None:
    found = day(asked, "/api/metrics")
    assert found["window"] == {
        "start": "2025-03-12T00:00:00.000Z",
        "end": "2025-03-13T00:00:00.000Z",
        "timezone": "Asia/Shanghai",
    }
    assert found["covered"]["complete"] is True
    figures = {
        "total_requests": 24,
        "failed_requests": 1,
        "success_rate": pytest.approx(23 / 24),
        "avg_execution_time": pytest.approx(26 / 24),
        "total_tokens": 24 * 19,
        "tokens": {"input": 240, "cached": 120, "output": 72, "unattributed": 24},
        "total_cost": pytest.approx(23 * 0.25),
        "unpriced_requests": 1,
        "priced_afterwards_requests": 0,
    }
    assert {name: found[name] for name in figures} == figures
    assert {each["source"]: each["total_requests"] for each in found["by_source"]} == {"web": 16, "微信": 8}
    assert {each["model"]: each["total_cost"] for each in found["by_model"]} == {"gpt-4o": 5.75, "none": 0}
    assert found["by_status"] == [
        {"source": "web", "status": "error", "requests": 1},
        {"source": "web", "status": "success", "requests": 15},
        {"source": "微信", "status": "success", "requests": 8},
    ]


def test_hours_of_one_source(asked: Server) -> None:
    found = day(asked, "/api/hourly-stats", "&source=%E5%BE%AE%E4%BF%A1")
    assert [hour["requests"] for hour in found["hours"]] == [1, 0, 0] * 8
    assert found["hours"][0] == {
        "hour": "2025-03-12T08:00:00+08:00",
        "start": "2025-03-12T00:00:00.000Z",
        "end": "2025-03-12T01:00:00.000Z",
        "requests": 1,
        "errors": 0,
        "success_rate": 1.0,
        "avg_execution_time": 1.0,
        "tokens": 19,
        "cost": 0.25,
        "unpriced_requests": 0,
        "complete": True,
    }
    assert found["hours"][1]["success_rate"] is None


def test_days_begin_at_local_midnight(asked: Server) -> None:
    found = asked.ask("/api/daily-stats?start=2025-03-12&end=2025-03-14").json
    assert [(each["date"], each["requests"]) for each in found["days"]] == [("2025-03-12", 16), ("2025-03-13", 8)]
    assert found["days"][0]["end"] == "2025-03-12T16:00:00.000Z"
    assert [each["errors"] for each in found["days"]] == [0, 1]


@pytest.mark.parametrize(
    ("address", "usual", "buckets"),
    [(ADDRESSES[0], 1, None), (ADDRESSES[1], 1, "hours"), (ADDRESSES[2], 30, "days")],
)
def test_without_a_window_it_is_the_usual_one(asked: Server, address: str, usual: int, buckets: str | None) -> None:
    found = asked.ask(address).json
    named = asked.ask(f"{address}?range={'today' if usual == 1 else '30d'}").json
    assert found["window"]["start"] == named["window"]["start"]
    assert found["covered"] == {"start": None, "end": None, "complete": False, "gaps": []}
    if buckets == "days":
        assert len(found["days"]) == usual


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("range=week", ["range"]),
        ("range=7d&start=2025-03-12", ["range"]),
        ("end=2025-03-12", ["start"]),
        ("start=2025-03-12&end=2025-03-12", ["end"]),
        ("start=2025-03-13&end=2025-03-12", ["end"]),
        ("start=2023-03-13&end=2025-03-12", ["end"]),
        ("start=2999-01-01", ["start"]),
        ("start=2025-03-12T00:00:00", ["start"]),
        (f"start={'1' * 41}", ["start"]),
        ("source=", ["source"]),
        ("source=%00", ["source"]),
        (f"source={'x' * 129}", ["source"]),
        ("sources=web", ["sources"]),
        ("range=7d&range=7d", ["range"]),
    ],
)
def test_what_cannot_be_a_window_is_named(alone: Server, address: str, query: str, names: list[str]) -> None:
    problem = alone.ask(f"{address}?{query}").problem(422, "invalid-input")
    assert [error["loc"] for error in problem["errors"]] == [["query", name] for name in names]


def test_hours_of_more_than_two_months_are_too_many(alone: Server) -> None:
    problem = alone.ask("/api/hourly-stats?start=2025-01-01&end=2025-03-05").problem(422, "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "end"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_without_prometheus_the_answer_names_it(alone: Server, address: str) -> None:
    answer = alone.ask(address)
    assert answer.problem(503, "upstream")["detail"] == "Prometheus: cannot be reached (Connection refused)"
    assert int(answer.headers["Retry-After"]) >= 1
    assert alone.ask("/health").status == 200
