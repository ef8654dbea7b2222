import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleetpulse.auth.jwks import MAX_BYTES, KeySet, fetch_url
from fleetpulse.errors import ConfigError, UnauthenticatedError

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_get("/jwks", handler)
        server = TestServer(app)
        servers.append(server)
        await server.start_server()
        return str(server.make_url("/jwks"))

    yield start
    for server in servers:
        await server.close()


async def test_the_document_is_fetched(serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b'{"keys": []}')

    assert await fetch_url(await serve(handler))() == b'{"keys": []}'


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

    with pytest.raises(ConfigError, match="302"):
        await fetch_url(await serve(handler))()


async def test_an_endless_document_is_not_read_to_its_end(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 2**16)

    raw = await fetch_url(await serve(handler))()
    assert MAX_BYTES < len(raw) < 2 * MAX_BYTES


async def test_errors_and_silence_refuse_the_token_and_are_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(_: web.Request) -> web.Response:
        raise web.HTTPBadGateway

    for url in (await serve(handler), "http://127.0.0.1:1/jwks"):
        caplog.clear()
        with pytest.raises(UnauthenticatedError):
            await KeySet(fetch_url(url), lambda: 0.0).key("one")
        assert "were not had" in caplog.text


async def test_many_calls_at_once_make_one_fetch() -> None:
    fetches = 0
    go = asyncio.Event()

    async def slow() -> bytes:
        nonlocal fetches
        fetches += 1
        await go.wait()
        raise ConnectionRefusedError

    keys = KeySet(slow, lambda: 0.0)
    calls = [asyncio.create_task(keys.key(f"kid-{n}")) for n in range(50)]
    await asyncio.sleep(0)
    go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, UnauthenticatedError) for result in results)
    assert fetches == 1
