"""The command line is tested as people use it: as a process."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.harness import Exporter, clean_environment, started

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `fleetpulse` with arguments in an empty folder; settings as keywords."""
    folder = tmp_path / "client"
    folder.mkdir()

    def call(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fleetpulse", *map(str, arguments)],
            cwd=folder,
            env=clean_environment(**{"COLUMNS": "160"} | settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A running exporter."""
    yield from started(Exporter(tmp_path / "exporter"))
