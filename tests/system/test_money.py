"""One sum of money, asked for in every way there is, and worked out apart from the files: all the same.

The trace goes in through the replay, with the exporter killed in the middle of it.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.system.harness import Program, Stack, clean_environment, get, started, wait_for
from tests.tools import ROOT

DATA = ROOT.parent / "shared" / "data"
FILES = {"web": "AzureLLMInferenceTrace_conv.csv", "ide": "AzureLLMInferenceTrace_code.csv"}
INPUT_PRICE, OUTPUT_PRICE = Decimal("0.37"), Decimal("1.9")  # USD per million tokens, of no real model
PRICES = [{"model": "trace-*", "input_usd_per_million": 0.37, "output_usd_per_million": 1.9}]
BUDGETS = [{"name": "all", "limit_usd": 1_000}, {"name": "of-web", "limit_usd": 1_000, "source": "web"}]
ROUNDING = 1e-6

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the request traces are not in {DATA}")


def cost_of(source: str) -> Decimal:
    """What a file's calls cost, worked out from its columns."""
    with (DATA / FILES[source]).open() as file:
        rows = list(csv.DictReader(file))
    tokens_in = sum(int(row["ContextTokens"]) for row in rows)
    tokens_out = sum(int(row["GeneratedTokens"]) for row in rows)
    return (tokens_in * INPUT_PRICE + tokens_out * OUTPUT_PRICE) / 1_000_000


EXPECTED = {source: float(cost_of(source)) for source in FILES} if DATA.is_dir() else {}
TOTAL = sum(EXPECTED.values())


def replay(stack: Stack, folder: Path, source: str) -> Program:
    command = [sys.executable, "-m", "fleetpulse", "replay", str(DATA / FILES[source]), "--set", f"source={source}"]
    more = ["--set", "model=trace-model", "--url", stack.exporter_url, "--data-dir", str(folder)]
    program = Program(f"replay {source}", command + more, "", folder / f"{source}.log", clean_environment())
    program.start(wait=False)
    return program


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that has heard both traces, one `kill -9` included, and whose Prometheus has seen all of it."""
    folder = tmp_path_factory.mktemp("money")
    settings = {"FLEETPULSE_PRICES": json.dumps(PRICES), "FLEETPULSE_BUDGETS": json.dumps(BUDGETS)}
    for stack in started(Stack(folder, **settings)):
        pay(stack, folder)
        yield stack


def pay(stack: Stack, folder: Path) -> None:
    running = [replay(stack, folder, source) for source in FILES]
    try:
        wait_for(lambda: stack.exporter.metrics().get(STORED, 0) > 2_000, what="the replays' first requests")
        stack.exporter.kill()
        stack.exporter.start()
        for program in running:
            assert program.process.wait(120) == 0, program.output()
    finally:
        for program in running:
            program.stop()
    calls = stack.exporter.metrics()[STORED]
    wait_for(lambda: stack.value("sum(fleetpulse_requests_total)") == calls, what="every request in Prometheus")


STORED = 'fleetpulse_ingest_signals_total{kind="request",outcome="stored"}'


def exported(stack: Stack, query: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(get(f"{stack.exporter_url}/api/requests/export?format=csv{query}"))))


def test_the_statistics_have_the_sum(paid: Stack) -> None:
    answer = paid.exporter.get("/api/metrics?range=today")
    assert answer["total_cost"] == pytest.approx(TOTAL, abs=ROUNDING)
    assert answer["unpriced_requests"] == 0
    for source, cost in EXPECTED.items():
        part = paid.exporter.get(f"/api/metrics?range=today&source={source}")
        assert part["total_cost"] == pytest.approx(cost, abs=ROUNDING)


def test_the_export_has_the_sum(paid: Stack) -> None:
    assert sum(float(row["cost"]) for row in exported(paid, "")) == pytest.approx(TOTAL, abs=ROUNDING)
    lines = get(f"{paid.exporter_url}/api/requests/export?format=jsonl&source=web").splitlines()
    assert sum(json.loads(line)["cost"] for line in lines) == pytest.approx(EXPECTED["web"], abs=ROUNDING)


def test_the_budget_gauges_have_the_sum(paid: Stack) -> None:
    for budget, cost in (("all", TOTAL), ("of-web", EXPECTED["web"])):
        assert paid.value(f'fleetpulse_budget_spent_usd{{budget="{budget}"}}') == pytest.approx(cost, abs=ROUNDING)
    listed = {each["budget"]: each["spent_usd"] for each in paid.exporter.get("/api/budgets")["budgets"]}
    assert listed == pytest.approx({"all": TOTAL, "of-web": EXPECTED["web"]}, abs=ROUNDING)


def test_the_reports_have_the_sum(paid: Stack) -> None:
    for kind in ("daily", "weekly", "monthly"):
        report = paid.exporter.get(f"/api/report/{kind}")
        assert report["totals"]["total_cost"] == pytest.approx(TOTAL, abs=ROUNDING), kind
        by_source = {group["source"]: group["total_cost"] for group in report["by_source"]}
        assert by_source == pytest.approx(EXPECTED, abs=ROUNDING), kind
        assert sum(point["cost"] for point in report["series"]["points"]) == pytest.approx(TOTAL, abs=ROUNDING), (
            kind
        )
