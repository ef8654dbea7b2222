"""Fixtures of the black-box tests; what they give is in `harness.py`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.cluster.redis_server import RedisServer, started_redis
from tests.system.harness import Exporter, Stack, started
from tests.system.replicas import Replicas, until


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """A running exporter of this test's own."""
    yield from started(Exporter(tmp_path / "exporter"))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack that all tests of the session share; skips where Prometheus or Alertmanager is missing."""
    yield from started(Stack(tmp_path_factory.mktemp("stack")))


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, which may be killed and started again."""
    yield from started_redis()


@pytest.fixture
async def replicas(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Replicas]:
    """Two exporters that know each other over that Redis."""
    pair = Replicas(tmp_path, redis)
    try:
        await asyncio.to_thread(pair.start)
        await until(pair.joined)
        yield pair
    finally:
        await asyncio.to_thread(pair.stop)
