from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import started
from tests.web.admin_stand import AdminStand
from tests.web.chat_stand import ChatServe, ChatStand
from tests.web.live_stand import DEADLINE, Serve, Stand
from tests.web.server import Server

from fleetpulse.config import Settings


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    stands = []

    async def start(*, auth: dict[str, Any] | None = None, auth_seconds: float = DEADLINE, **live: Any) -> Stand:
        settings = Settings(data_dir=tmp_path, live=live, auth=auth or {})
        stand = await Stand(settings, auth_seconds=auth_seconds).start()
        stands.append(stand)
        return stand

    yield start
    for stand in stands:
        await stand.stop()


@pytest.fixture
async def chat_serve(tmp_path: Path) -> AsyncIterator[ChatServe]:
    stands = []

    async def start(
        *,
        auth: dict[str, Any] | None = None,
        live: dict[str, Any] | None = None,
        auth_seconds: float = DEADLINE,
        **chat: Any,
    ) -> ChatStand:
        settings = Settings(data_dir=tmp_path, live=live or {}, auth=auth or {}, chat=chat)
        stand = await ChatStand(settings, auth_seconds=auth_seconds).start()
        stands.append(stand)
        return stand

    yield start
    for stand in stands:
        await stand.stop()


@pytest.fixture
async def admin_serve(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[AdminStand]]]:
    stands: list[AdminStand] = []

    async def start(**settings: Any) -> AdminStand:
        folder = tmp_path / str(len(stands))
        own: dict[str, Any] = {"data_dir": folder, "port": 0} | settings
        stand = await AdminStand(Settings(**own)).start()
        stands.append(stand)
        return stand

    yield start
    for stand in stands:
        await stand.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running exporter that the tests of the HTTP API share; it must not have stumbled over anything."""
    program = Server(tmp_path_factory.mktemp("server"))
    yield from started(program)
    assert " ERROR fleetpulse" not in program.output()
    assert "leaked" not in program.output()
