"""Probes of real servers on loopback: good ones, bad ones, and one that never answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleetpulse.web.probes import FRESH_SECONDS, Probes, Recent, State


@asynccontextmanager
async def answering(status: int) -> AsyncIterator[str]:
    """A server that answers everything with a status."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    async with TestServer(app) as server:
        yield str(server.make_url("/-/ready"))


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/-/ready"


async def settled(probes: Probes) -> dict[str, State]:
    """The states once nothing is being checked any more."""
    async with asyncio.timeout(30):
        while "checking" in (states := await probes.states()).values():
            pass
    return states


@pytest.mark.parametrize(
    ("status", "state"), [(200, "up"), (302, "up"), (401, "up"), (404, "up"), (503, "starting"), (500, "down")]
)
async def test_states_by_status(status: int, state: State) -> None:
    async with answering(status) as address:
        probes = Probes({"it": address})
        assert await settled(probes) == {"it": state}
        await probes.close()


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "http://no-such-host.invalid/", "no address", ""])
async def test_what_cannot_be_reached_is_down(address: str) -> None:
    probes = Probes({"it": address})
    assert await settled(probes) == {"it": "down"}
    await probes.close()


async def test_a_silent_service_holds_up_nobody() -> None:
    async with silent() as address, answering(200) as other:
        probes = Probes({"silent": address, "other": other})
        assert await probes.states() == {"silent": "checking", "other": "checking"}, "it waited for the silent one"
        assert await settled(probes) == {"silent": "down", "other": "up"}
        await probes.close()


async def test_closing_ends_a_probe_under_way() -> None:
    async with silent() as address:
        probes = Probes({"it": address})
        await probes.states()
        await probes.close()


async def test_one_question_serves_many_and_is_asked_again_when_it_is_old() -> None:
    asked, now = [], 100.0

    async def ask() -> int:
        asked.append(now)
        await asyncio.sleep(0)
        return len(asked)

    recent = Recent(ask, 0, lambda: now)
    assert await asyncio.gather(*(recent.value() for _ in range(10))) == [1] * 10
    now += FRESH_SECONDS / 2
    assert await recent.value() == 1
    now += FRESH_SECONDS / 2
    assert await recent.value() == 2
    assert asked == [100.0, now]
