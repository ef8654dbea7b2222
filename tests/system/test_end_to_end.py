"""Real request traces from file to Prometheus, to the last token; the budget they break, from row to WebSocket."""

import csv
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.system.harness import Program, Stack, clean_environment, started, wait_for
from tests.tools import ROOT
from websockets.sync.client import connect

DATA = ROOT.parent / "shared" / "data"
FILES = {"web": DATA / "AzureLLMInferenceTrace_conv.csv", "ide": DATA / "AzureLLMInferenceTrace_code.csv"}
FEED = "/api/v1/group-ai/monitor/ws/alerts"
DUPLICATES = 'fleetpulse_ingest_signals_total{kind="request",outcome="duplicate"}'
LIMIT_USD = 10
SLICE_UNTIL = "2023-11-16 18:20:00"  # a few seconds of both traces at 60 times their pace
pytestmark = pytest.mark.skipif(
    not all(file.is_file() for file in FILES.values()), reason=f"the request traces are not in {DATA}"
)


class Sums(NamedTuple):
    """What a trace, or a source in Prometheus, adds up to."""

    requests: int
    tokens_in: int
    tokens_out: int


def sums_of(file: Path) -> Sums:
    """The file's own sums, computed without the project."""
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    return Sums(
        len(rows), sum(int(row["ContextTokens"]) for row in rows), sum(int(row["GeneratedTokens"]) for row in rows)
    )


def scraped(stack: Stack, source: str) -> Sums:
    """What Prometheus has for a source."""
    tokens = f'sum(fleetpulse_tokens_total{{source="{source}",kind="%s"}})'
    queries = (f'sum(fleetpulse_requests_total{{source="{source}"}})', tokens % "input", tokens % "output")
    return Sums(*(int(stack.value(query) or 0) for query in queries))


Heard = list[tuple[float, dict[str, Any]]]


@contextmanager
def listening(port: int) -> Iterator[Heard]:
    """Listens to the alerts feed as a dashboard does: what was heard, and when."""
    heard: Heard = []
    with connect(f"ws://127.0.0.1:{port}{FEED}") as feed:

        def listen() -> None:
            for message in feed:
                heard.append((time.time(), json.loads(message)["alert"]))

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield heard
        finally:
            feed.close()
            listener.join()


def first(heard: Heard, alertname: str) -> tuple[float, dict[str, Any]] | None:
    """When an alert was first heard firing, and as what."""
    return next(((at, one) for at, one in heard if one["alertname"] == alertname and not one["resolved"]), None)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of these tests' own: nobody else may spend of its budget."""
    yield from started(Stack(tmp_path_factory.mktemp("end-to-end")))


@contextmanager
def command(folder: Path, name: str, *arguments: str) -> Iterator[Program]:
    """A `fleetpulse` command that runs meanwhile."""
    program = Program(
        name, [sys.executable, "-m", "fleetpulse", *arguments], "", folder / f"{name}.log", clean_environment()
    )
    program.start(wait=False)
    try:
        yield program
    finally:
        program.stop()


def replay(folder: Path, stack: Stack, files: dict[str, Path], speed: str) -> None:
    """Plays several files at once, each as a source."""
    for source, file in files.items():
        options = ("--set", f"source={source}", "--set", "model=gpt-4o", "--speed", speed)
        where = ("--url", stack.exporter_url, "--data-dir", str(folder))
        with command(folder, f"replay-{source}", "replay", str(file), *options, *where) as program:
            assert program.process.wait(120) == 0, program.output()


def broke_the_budget(stack: Stack) -> float:
    """When the request came in (and was acknowledged milliseconds later) that took the spend over the limit."""
    where = f"file:{stack.exporter.data_dir / 'journal.db'}?mode=ro"
    with closing(sqlite3.connect(where, uri=True)) as journal:
        rows = journal.execute("SELECT received_at, cost FROM requests ORDER BY id").fetchall()
    spent = 0.0
    for received_at, cost in rows:
        spent += cost
        if spent >= LIMIT_USD:
            return float(received_at)
    raise AssertionError(f"the traces cost {spent} USD, which is within the budget")


def wait_for_sums(stack: Stack, files: dict[str, Path]) -> None:
    """Waits until Prometheus has every source's sums as the file itself has them."""
    wanted = {source: sums_of(file) for source, file in files.items()}
    wait_for(lambda: {source: scraped(stack, source) for source in files} == wanted, what=f"{wanted} in Prometheus")


def test_two_traces_and_the_budget_they_break(stack: Stack, tmp_path: Path) -> None:
    agent = ("agent", "this-host", "--interval", "1", "--url", stack.exporter_url)
    series = 'fleetpulse_agent_%s{agent_id="this-host"}'
    with listening(stack.exporter.port) as heard, command(tmp_path, "agent", *agent):
        replay(tmp_path, stack, FILES, "max")
        wait_for_sums(stack, FILES)
        wait_for(lambda: stack.value(series % "up") == 1, what="the agent")
        assert 0 < (stack.value(series % "memory_usage_ratio") or 0) <= 1
        at, alert = wait_for(lambda: first(heard, "BudgetAt100Percent"), what="the alert on the feed")
    print(f"\nfrom the request that broke the budget to the feed: {at - broke_the_budget(stack):.1f} s")  # noqa: T201
    assert (alert["alert_type"], alert["severity"]) == ("cost", "critical")
    assert "$" in alert["message"]
    wait_for(lambda: stack.value(series % "up") == 0, what="the agent's goodbye")


def test_the_same_files_again_change_nothing(stack: Stack, tmp_path: Path) -> None:
    replay(tmp_path, stack, FILES, "max")
    before = stack.exporter.metrics()[DUPLICATES]
    replay(tmp_path, stack, FILES, "max")
    rows = sum(sums_of(file).requests for file in FILES.values())
    wait_for(lambda: stack.value(DUPLICATES) == before + rows, what="the duplicates in Prometheus")
    wait_for_sums(stack, FILES)


def test_sixty_times_as_fast_as_it_happened(stack: Stack, tmp_path: Path) -> None:
    slices = {}
    for source, file in FILES.items():
        head, *lines = file.read_text().splitlines(keepends=True)
        slices[f"{source}-60x"] = tmp_path / f"{source}.csv"
        slices[f"{source}-60x"].write_text(head + "".join(line for line in lines if line < SLICE_UNTIL))
    assert all(sums_of(file).requests > 50 for file in slices.values())
    replay(tmp_path, stack, slices, "60")
    wait_for_sums(stack, slices)
