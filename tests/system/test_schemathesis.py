"""Schemathesis over the whole API: what its document allows and forbids is sent, and every answer held to it.

`SCHEMATHESIS_EXAMPLES` asks for more than the few that a run of all tests has time for.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import Exporter, Stack, clean_environment, get_json, started, wait_for
from tests.tools import ROOT

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "10")
CONFIG = ROOT / "tests/system/schemathesis.toml"
QUICK = ("--phases", "examples,coverage", "--mode", "positive")
COMMAND = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own: what is sent here must not be in other tests' series."""
    yield from started(Stack(tmp_path_factory.mktemp("schemathesis")))


def attack(exporter: Exporter, folder: Path, *options: str) -> None:
    """Runs schemathesis, which must find nothing."""
    done = subprocess.run(
        [*COMMAND, f"{exporter.url}/openapi.json", "--max-examples", EXAMPLES, *options],
        cwd=folder,  # it keeps a cache there
        env=clean_environment(SCHEMATHESIS_HOOKS="tests.system.schemathesis_hooks", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Test cases:" in done.stdout, done.stdout


def test_no_answer_is_off_its_schema(whole: Stack, tmp_path: Path) -> None:
    wait_for(lambda: whole.value("up{job='fleetpulse'}"), what="the first scrape")
    attack(whole.exporter, tmp_path)
    assert "incident" not in whole.exporter.output()


def test_what_needs_a_service_that_is_down_says_so(exporter: Exporter, tmp_path: Path) -> None:
    """503 with Retry-After is documented, and then an answer like others; 500 is not."""
    attack(exporter, tmp_path, *QUICK, "--exclude-checks", "not_a_server_error")
    assert "incident" not in exporter.output()


def test_nothing_that_asks_for_credentials_is_answered_without(exporter: Exporter, tmp_path: Path) -> None:
    bearer = admin_of(exporter)
    wait_for(lambda: get_json(f"{exporter.url}/openapi.json")["paths"]["/metrics"]["get"]["security"][0])
    attack(exporter, tmp_path, *QUICK, "-H", bearer, "--exclude-checks", "not_a_server_error")


def admin_of(exporter: Exporter) -> str:
    """Makes the first app key, which switches credentials on; the header that shows it."""
    made = subprocess.run(
        [sys.executable, "-m", "fleetpulse", "token", "key", "--name", "all", "--role", "admin"],
        env=clean_environment(FLEETPULSE_DATA_DIR=str(exporter.data_dir)),
        capture_output=True,
        text=True,
        check=True,
    )
    return next(line for line in made.stdout.splitlines() if line.startswith("Authorization: "))


def test_the_document_is_the_same_after_a_restart(exporter: Exporter) -> None:
    before = get_json(f"{exporter.url}/openapi.json")
    exporter.terminate()
    exporter.start()
    assert get_json(f"{exporter.url}/openapi.json") == before
