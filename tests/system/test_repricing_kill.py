"""`kill -9` while stored requests are priced: rows, series and budgets agree, and the rest goes on by itself."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.system.harness import Exporter, get_json, post, started, wait_for

REQUESTS = 20_000
BATCH = 5_000
BUDGETS = [
    {"name": "all", "limit_usd": 1_000, "period": "month"},
    {"name": "anne", "limit_usd": 1_000, "period": "month", "user": "anne"},
]


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    yield from started(Exporter(tmp_path / "exporter", FLEETPULSE_BUDGETS=json.dumps(BUDGETS)))


def log(number: int) -> dict[str, Any]:
    return {
        "request_id": f"r{number}",
        "source": f"s{number % 3}",
        "user_id": "anne" if number % 2 else "bob",
        "status": "success",
        "execution_time": 1,
        "model": "our-llama",
        "input_tokens": number,
    }


def ask(exporter: Exporter, query: str) -> tuple[Any, ...]:
    with closing(sqlite3.connect(f"file:{exporter.data_dir / 'journal.db'}?mode=ro", uri=True)) as file:
        row: tuple[Any, ...] = file.execute(query).fetchone()
    return row


def total(exporter: Exporter, name: str) -> float:
    return sum(value for sample, value in exporter.metrics().items() if sample.partition("{")[0] == name)


def agree(exporter: Exporter) -> None:
    """What is shown is what the rows say; nothing is under way."""
    unknown, cost = ask(exporter, "SELECT total(cost_source = 'unknown'), total(cost) FROM requests")
    (annes,) = ask(exporter, "SELECT total(cost) FROM requests WHERE user_id = 'anne'")
    (entered,) = ask(exporter, "SELECT total(cost) FROM corrections")
    still = total(exporter, "fleetpulse_unpriced_requests_total")
    assert still - total(exporter, "fleetpulse_priced_afterwards_requests_total") == unknown
    assert total(exporter, "fleetpulse_cost_usd_total") == pytest.approx(cost, rel=1e-9)
    assert entered == pytest.approx(cost, rel=1e-9)
    budgets = {each["budget"]: each for each in get_json(f"{exporter.url}/api/budgets")["budgets"]}
    assert budgets["all"]["spent_usd"] == pytest.approx(cost, rel=1e-9)
    assert budgets["anne"]["spent_usd"] == pytest.approx(annes, rel=1e-9)
    assert budgets["all"]["unpriced_requests"] == unknown


def give(exporter: Exporter) -> None:
    try:
        post(f"{exporter.url}/api/prices", {"model": "our-*", "input_usd_per_million": 3})
    except OSError:
        return  # it was killed meanwhile, which is the point


def test_a_run_that_is_killed_is_finished_after_the_start(exporter: Exporter) -> None:
    for first in range(0, REQUESTS, BATCH):
        post(f"{exporter.url}/api/log-request", [log(number) for number in range(first, first + BATCH)])
    agree(exporter)
    giving = Thread(target=give, args=(exporter,))
    giving.start()
    wait_for(lambda: ask(exporter, "SELECT count(*) FROM corrections")[0])
    exporter.kill()
    giving.join()
    assert 0 < ask(exporter, "SELECT count(*) FROM requests WHERE cost_source = 'corrected'")[0] < REQUESTS
    exporter.start()
    wait_for(lambda: get_json(f"{exporter.url}/api/corrections")["pending"] == 0)
    agree(exporter)
    (cost,) = ask(exporter, "SELECT total(cost) FROM requests")
    assert cost == pytest.approx(sum(range(REQUESTS)) * 3 / 1e6)
    assert ask(exporter, "SELECT count(DISTINCT run_id), sum(requests) FROM corrections") == (1, REQUESTS)
