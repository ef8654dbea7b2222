from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.notices.stand import NoticeStand, settings

Serve = Callable[..., Awaitable[NoticeStand]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts notifications with settings of a test's; several share nothing but the folder they are given."""
    stands: list[NoticeStand] = []

    async def start(alertmanager: str | None = None, folder: Path = tmp_path, **sections: Any) -> NoticeStand:
        stand = NoticeStand(settings(folder, **sections), alertmanager)
        stands.append(stand)
        return await stand.start()

    yield start
    for stand in stands:
        await stand.stop()
