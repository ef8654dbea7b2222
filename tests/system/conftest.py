"""Fixtures of the black-box tests; what they give is in `harness.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import Exporter, Stack, started


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A running exporter of this test's own."""
    yield from started(Exporter(tmp_path / "exporter"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack that all tests of the session share; skips where Prometheus or Alertmanager is missing."""
    yield from started(Stack(tmp_path_factory.mktemp("stack")))
