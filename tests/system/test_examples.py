"""The examples of the documents do what the documents say: each is run as written, against a fresh stack."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.system.harness import Exporter, Stack, clean_environment, started, wait_for

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^```sh\n(?P<script>.*?)^```$(?:\s+```json\n(?P<answer>.*?)^```$)?", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8001"
CALL = re.compile(r"^curl .*?\n(?!\s)", re.MULTILINE | re.DOTALL)
PROGRAM = ".venv/bin/fleetpulse"


class Example(NamedTuple):
    """A script, and the JSON that the document shows as its answer, where it does."""

    script: str
    answer: Any


def examples(document: str) -> Iterator[Example]:
    for found in EXAMPLE.finditer((ROOT / document).read_text("utf-8")):
        answer = found["answer"]
        yield Example(found["script"], json.loads(answer) if answer else None)


def run(script: str, exporter: Exporter, folder: Path | None = None) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    here = script.replace(ADDRESS, exporter.url).replace(PROGRAM, f"{sys.executable} -m fleetpulse")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=folder,
        env=clean_environment(FLEETPULSE_URL=exporter.url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


def like(shown: Any, real: Any) -> bool:
    """Whether an answer is as shown; times, sizes and durations are of the same kind only."""
    if isinstance(shown, dict) and isinstance(real, dict):
        varying = {
            "last_update_time",
            "last_activity",
            "uptime_seconds",
            "bytes",
            "received_at",
            "timestamp",
            "window",
            "covered",
            "start",
            "end",
            "date",
            "run_id",
            "started_at",
            "id",
            "set_at",
            "made_at",
            "period_start",
            "period_end",
            "spent_usd",
            "left_usd",
            "used_ratio",
            "unpriced_requests",
            "state",
        }
        return shown.keys() == real.keys() and all(
            type(shown[key]) is type(real[key]) if key in varying else like(shown[key], real[key]) for key in shown
        )
    if isinstance(shown, list) and isinstance(real, list):
        return len(shown) == len(real) and all(map(like, shown, real))
    return bool(shown == (pytest.approx(real, rel=1e-9) if isinstance(real, float) else real))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this test's own: statistics come from Prometheus."""
    yield from started(Stack(tmp_path / "stack"))


@pytest.mark.parametrize(("document", "least"), [("docs/api.md", 10), ("docs/accounts.md", 6)])
def test_the_api_page(fresh: Stack, document: str, least: int) -> None:
    shown = list(examples(document))
    assert len(shown) > least
    for example in shown:
        if example.answer is None:
            said = run(example.script, fresh.exporter)
            assert ("fleetpulse_requests_total" if "/metrics" in example.script else "") in said, example.script
            assert "urn:fleetpulse:problem:" not in said[:100], example.script
        else:
            settle(example, fresh.exporter)


def settle(example: Example, exporter: Exporter) -> None:
    """Runs an example until it answers as shown: what is read may have to be scraped first."""
    said: list[str] = []

    def as_shown() -> bool:
        said.append(run(example.script, exporter))
        return like(example.answer, json.loads(said[-1]))

    try:
        wait_for(as_shown, 0.01 if "-X " in example.script else 30)
    except AssertionError:
        pytest.fail(f"{example.script}\nshown: {example.answer}\nis: {said[-1]}")


@pytest.mark.parametrize("document", ["README.md", "README.zh-CN.md"])
def test_the_calls_of_the_readme(fresh: Stack, tmp_path: Path, document: str) -> None:
    """What the README sends is accepted; the calls to Prometheus are the stack's tests' business."""
    scripts = "\n".join(example.script for example in examples(document))
    calls = [call for call in CALL.findall(f"{scripts}\n.") if ADDRESS in call]
    assert len(calls) > 3
    for call in calls:
        said = run(call.replace("curl ", "curl --fail-with-body "), fresh.exporter, tmp_path)
        assert "POST" not in call or json.loads(said)["accepted"] == 1, f"{call}\n{said}"


@pytest.mark.parametrize("document", ["README.md", "README.zh-CN.md"])
def test_the_commands_of_the_readme(exporter: Exporter, tmp_path: Path, document: str) -> None:
    scripts = [example.script for example in examples(document) if f"{PROGRAM} replay" in example.script]
    assert len(scripts) == 1
    run(scripts[0], exporter, tmp_path)
    assert exporter.metrics()['fleetpulse_ingest_signals_total{kind="request",outcome="stored"}'] == 52
    pools = {pool["pool_id"]: pool["agents"] for pool in exporter.get("/api/v1/agent-pools")["pools"]}
    assert pools == {"coding": 4, "default": 1, "support": 3}
