"""A replay that meets `kill -9` of the exporter ends with exact totals."""

import csv
import random
import sys
import time
from pathlib import Path

import pytest
from tests.system.harness import Exporter, Program, clean_environment
from tests.tools import ROOT

DATA = ROOT.parent / "shared" / "data"
FILES = {"web": "AzureLLMInferenceTrace_conv.csv", "ide": "AzureLLMInferenceTrace_code.csv"}
KILLS = 5


def replay(exporter: Exporter, folder: Path, source: str, *options: str) -> Program:
    command = [sys.executable, "-m", "fleetpulse", "replay", str(DATA / FILES[source]), "--set", f"source={source}"]
    more = ["--set", "model=gpt-4o", "--url", exporter.url, "--data-dir", str(folder), *options]
    program = Program(f"replay {source}", command + more, "", folder / f"{source}.log", clean_environment())
    program.start(wait=False)
    return program


def sums(source: str) -> tuple[int, int, int]:
    with (DATA / FILES[source]).open() as file:
        rows = list(csv.DictReader(file))
    return (
        len(rows),
        sum(int(row["ContextTokens"]) for row in rows),
        sum(int(row["GeneratedTokens"]) for row in rows),
    )


def totals(exporter: Exporter, source: str) -> tuple[float, float, float]:
    samples, labels = exporter.metrics(), f'source="{source}",model="gpt-4o"'
    return (
        samples[f'fleetpulse_requests_total{{{labels},status="success"}}'],
        samples[f'fleetpulse_tokens_total{{{labels},kind="input"}}'],
        samples[f'fleetpulse_tokens_total{{{labels},kind="output"}}'],
    )


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the request traces are not in {DATA}")
def test_totals_are_exact_after_crashes_during_both_replays(exporter: Exporter, tmp_path: Path) -> None:
    running = [replay(exporter, tmp_path, source, "--speed", "600", "--batch", "100") for source in FILES]
    try:
        for _ in range(KILLS):
            time.sleep(random.uniform(0.1, 0.6))
            exporter.kill()
            exporter.start()
        for program in running:
            assert program.process.wait(120) == 0, program.output()
    finally:
        for program in running:
            program.stop()
    for source in FILES:
        assert totals(exporter, source) == sums(source)
