from collections.abc import Iterator

import pytest
from tests.cluster.redis_server import RedisServer, started_redis


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    yield from started_redis()
