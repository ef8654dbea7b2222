"""Prices, requests without a cost, corrections and budgets over HTTP."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.system.harness import started, wait_for
from tests.web.server import Server, new_id, request_log

PRICES = [
    {"model": "set-*", "input_usd_per_million": 1, "output_usd_per_million": 2, "from": "2025-01-01T00:00:00Z"}
]
PRICES.append({"model": "fixed", "provider": "ours", "request_usd": 0.5})
BUDGETS = [
    {"name": "small", "limit_usd": 1, "source": "budget-small"},
    {"name": "blind", "limit_usd": 1, "period": "week", "user": "blind-user"},
    {"name": "full", "limit_usd": 1, "period": "month", "account": "full-account"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"FLEETPULSE_PRICES": json.dumps(PRICES), "FLEETPULSE_BUDGETS": json.dumps(BUDGETS)}
    settings["FLEETPULSE_TIMEZONE"] = "Asia/Shanghai"
    yield from started(Server(tmp_path_factory.mktemp("prices"), **settings))


def report(server: Server, model: str | None, count: int = 1, **fields: Any) -> None:
    tokens = {"tokens_used": None, "cost": None, "input_tokens": 1_000_000, "output_tokens": 0} | fields
    logs = [request_log(model=model, **tokens) for _ in range(count)]
    assert server.give("/api/log-request", logs).json["accepted"] == count


def unpriced(server: Server, model: str) -> list[dict[str, Any]]:
    groups = server.ask("/api/unpriced?limit=1000").json["unpriced"]
    return [group for group in groups if group["model"] == model]


def test_what_has_no_cost_is_listed_with_the_reason(server: Server) -> None:
    report(server, "strange", 2)
    report(server, "strange", input_tokens=None, output_tokens=None, tokens_used=7)
    report(server, "strange", provider="somebody", source="elsewhere")
    report(server, None, source="nameless")
    first, second, third = unpriced(server, "strange")
    assert (first["source"], first["provider"], first["requests"]) == ("elsewhere", "somebody", 1)
    assert (second["reason"], second["requests"], second["tokens"]) == ("no_price", 2, 2_000_000)
    assert (third["reason"], third["requests"], third["tokens"]) == ("tokens_not_split", 1, 7)
    assert datetime.fromisoformat(second["first"]) <= datetime.fromisoformat(second["last"]) <= datetime.now(UTC)
    assert not second["priced_now"]
    nameless = server.ask("/api/unpriced?limit=1").json["unpriced"]
    assert [(group["model"], group["reason"]) for group in nameless] == [(None, "no_model")]


def test_pages_hold_every_group_once(server: Server) -> None:
    for number in range(7):
        report(server, f"page-{number % 3}", source=f"s{number}")
    whole = server.ask("/api/unpriced?limit=1000").json
    assert whole["next_cursor"] is None
    paged: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = server.ask(f"/api/unpriced?limit=2&cursor={cursor}").json
        paged += page["unpriced"]
        cursor = page["next_cursor"]
    assert paged == whole["unpriced"]
    assert len(paged) >= 7


@pytest.mark.parametrize("path", ["/api/unpriced", "/api/corrections"])
@pytest.mark.parametrize("cursor", ["x", "-1", "W10=", "bnVsbA==", "9" * 30, "%C2%B2"])
def test_what_is_no_cursor_is_refused(server: Server, path: str, cursor: str) -> None:
    problem = server.ask(f"{path}?cursor={cursor}").problem(422, "invalid-input")
    assert problem["errors"][0]["loc"] == ["query", "cursor"]


def test_a_price_is_given_and_used_and_taken_back(server: Server) -> None:
    report(server, "given-1", 3)
    price = {"model": "given-1", "input_usd_per_million": 2.0, "output_usd_per_million": 4.0}
    trial = server.give("/api/prices", price | {"dry_run": True}).json
    group = {"source": "tests", "model": "given-1", "provider": None, "requests": 3, "cost_usd": 6.0}
    assert trial == {
        "price": price,
        "dry_run": True,
        "pricing": {"run_id": None, "finished": True, "requests": 3, "cost_usd": 6.0, "groups": [group]},
    }
    assert unpriced(server, "given-1")[0]["requests"] == 3
    given = server.give("/api/prices", price).json
    run_id = given["pricing"]["run_id"]
    assert given == trial | {"dry_run": False, "pricing": trial["pricing"] | {"run_id": run_id}}
    assert unpriced(server, "given-1") == []
    report(server, "given-1")
    (correction,) = server.ask(f"/api/corrections?run_id={run_id}").json["corrections"]
    assert correction["made_by"] == "anonymous"
    assert (correction["requests"], correction["cost_usd"]) == (3, 6.0)
    assert correction["price"] == {"origin": "given"} | price
    (shown,) = (each for each in server.ask("/api/prices").json["prices"] if each["model"] == "given-1")
    assert {"origin": "given", "in_force": True, "set_by": "anonymous"}.items() <= shown.items()
    assert server.send("DELETE", "/api/prices?model=given-1").status == 204
    server.send("DELETE", "/api/prices?model=given-1").problem(404, "not-found")
    report(server, "given-1")
    assert unpriced(server, "given-1")[0]["requests"] == 1


def test_the_configured_prices_are_listed_and_cannot_be_overruled(server: Server) -> None:
    listed = [each for each in server.ask("/api/prices").json["prices"] if each["origin"] == "configured"]
    assert [(each["model"], each.get("valid_from"), each["in_force"]) for each in listed] == [
        ("fixed", None, True),
        ("set-*", "2025-01-01T00:00:00+00:00", True),
    ]
    problem = server.give("/api/prices", {"model": "fixed", "provider": "ours", "request_usd": 1}).problem(
        422, "invalid-input"
    )
    assert "prices" in problem["errors"][0]["msg"]
    assert server.give("/api/prices", {"model": "fixed", "request_usd": 1, "dry_run": True}).status == 200


def test_prices_come_in_pages(server: Server) -> None:
    for number in range(3):
        server.give("/api/prices", {"model": f"paged-{number}", "request_usd": number})
    first = server.ask("/api/prices?limit=2").json
    rest = server.ask(f"/api/prices?limit=1000&cursor={json_quoted(first['next_cursor'])}").json
    whole = server.ask("/api/prices?limit=1000").json
    assert first["prices"] + rest["prices"] == whole["prices"]


def json_quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"request_usd": 1},
        {"model": "", "request_usd": 1},
        {"model": "m", "request_usd": -1},
        {"model": "m", "request_usd": 1e9},
        {"model": "m", "cached_usd_per_million": 1},
        {"model": "m", "input": 1, "request_usd": 1},
        {"model": "m", "request_usd": "much"},
        [],
    ],
)
def test_a_price_that_is_none_is_refused(server: Server, body: Any) -> None:
    server.give("/api/prices", body).problem(422, "invalid-input")


def test_what_is_stored_is_priced_by_the_prices_in_force(server: Server) -> None:
    report(server, "ask-1", source="a")
    report(server, "ask-1", source="b")
    server.give("/api/prices", {"model": "ask-2", "request_usd": 0.25})
    assert server.give("/api/unpriced/price", {"model": "ask-*"}).json["pricing"]["requests"] == 0
    assert server.give("/api/unpriced/price", {"unknown": 1}).status == 422
    server.give("/api/unpriced/price", b"").problem(400, "malformed")
    whole = server.give("/api/unpriced/price", {"source": "b", "dry_run": True}).json
    assert whole["dry_run"]
    assert whole["pricing"]["requests"] == 0


def test_a_long_run_answers_in_between_and_goes_on(server: Server) -> None:
    for _ in range(2):
        report(server, "long", 5_000)
    server.give("/api/prices", {"model": "long", "request_usd": 0.001})
    wait_for(lambda: server.ask("/api/corrections?limit=1").json["pending"] == 0)
    assert unpriced(server, "long") == []


def budgets(server: Server) -> dict[str, dict[str, Any]]:
    return {each["budget"]: each for each in server.ask("/api/budgets").json["budgets"]}


def test_budgets_tell_what_is_spent_and_what_is_certain(server: Server) -> None:
    report(server, None, source="budget-small", tokens_used=None, input_tokens=None, output_tokens=None, cost=0.85)
    report(server, "blind-model", user_id="blind-user")
    report(server, None, account_id="full-account", cost=3.0)
    report(server, "blind-model", account_id="full-account")
    now = budgets(server)
    assert [(each, now[each]["state"]) for each in now] == [
        ("blind", "unknown"),
        ("full", "exceeded"),
        ("small", "warning"),
    ]
    small = now["small"]
    assert (small["scope"], small["target"], small["period"]) == ("source", "budget-small", "day")
    assert (small["limit_usd"], small["spent_usd"], small["unpriced_requests"]) == (1.0, 0.85, 0)
    assert small["left_usd"] == pytest.approx(0.15)
    assert small["used_ratio"] == 0.85
    assert small["forecast_usd"] is None
    assert small["period_start"].endswith("T00:00:00+08:00")
    start, end = (datetime.fromisoformat(small[name]) for name in ("period_start", "period_end"))
    assert start <= datetime.now(UTC) < end
    assert (end - start).total_seconds() == 86_400
    assert (now["full"]["left_usd"], now["full"]["unpriced_requests"]) == (0.0, 1)
    server.give("/api/prices", {"model": "blind-model", "request_usd": 0.96})
    assert budgets(server)["blind"]["state"] == "critical"


def test_metrics_say_the_same(server: Server) -> None:
    report(server, "metric-model", 2, source="budget-small")
    shown, now = server.metrics(), budgets(server)["small"]
    labels = '{budget="small",scope="source",target="budget-small",period="day"}'
    for metric, name in (
        ("budget_limit_usd", "limit_usd"),
        ("budget_spent_usd", "spent_usd"),
        ("budget_unpriced_requests", "unpriced_requests"),
    ):
        assert shown[f"fleetpulse_{metric}{labels}"] == now[name]
    for edge in ("start", "end"):
        moment = datetime.fromisoformat(now[f"period_{edge}"]).timestamp()
        assert shown[f"fleetpulse_budget_period_{edge}_timestamp_seconds{labels}"] == moment
    assert shown[f"fleetpulse_budget_cost_usd_total{labels}"] == now["spent_usd"]
    server.give("/api/prices", {"model": "metric-model", "request_usd": 0.5})
    shown = server.metrics()
    assert shown[f"fleetpulse_budget_corrected_usd_total{labels}"] == 1.0
    assert shown['fleetpulse_priced_afterwards_requests_total{source="budget-small",model="metric-model"}'] == 2


def test_prices_outlive_a_restart(server: Server) -> None:
    name = new_id("kept")
    server.give("/api/prices", {"model": name, "request_usd": 0.125})
    server.stop()
    server.start()
    report(server, name)
    assert unpriced(server, name) == []
