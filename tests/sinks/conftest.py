"""A collector for each test."""

from collections.abc import Iterator

import pytest
from tests.sinks.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """It listens."""
    made = Collector().start()
    yield made
    made.stop()
