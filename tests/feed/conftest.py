from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.feed.stand import stand
from tests.web.live_stand import Stand

Serve = Callable[..., Awaitable[Stand]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts an exporter's live endpoints; settings of `live` as keywords, and `auth`."""
    stands = []

    async def start(**settings: Any) -> Stand:
        stands.append(await stand(tmp_path, **settings))
        return stands[-1]

    yield start
    for each in stands:
        await each.stop()
