"""What goes wrong between the exporter and a service behind it ends as an UpstreamError that names the service."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.query.conftest import Remember
from tests.query.history import History, Journal, Logged, Shown, every

from fleetpulse.errors import UpstreamError
from fleetpulse.query import upstream
from fleetpulse.query.alertmanager import Alertmanager
from fleetpulse.query.promql import Prometheus, duration, quoted, selector

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A service that answers as a test wants."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url(""))

    yield start
    for server in servers:
        await server.close()


async def failure(client: Prometheus) -> str:
    """What the error says, without the service's name, which it begins with."""
    with pytest.raises(UpstreamError) as failed:
        await client.query("up", 1.0)
    await client.close()
    assert failed.value.name == "Prometheus"
    return failed.value.detail.removeprefix("Prometheus: ")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "answered 200 and no JSON"),
        (200, b"", "answered 200 and no JSON"),
        (200, b"[]", "answered something else than series"),
        (
            200,
            b'{"data": {"result": [{"metric": {}, "value": ["x", "1"]}]}}',
            "answered something else than series",
        ),
        (200, b'{"data": {"result": [1]}}', "answered something else than series"),
        (200, b'{"data": null}', "answered something else than series"),
        (422, b'{"status": "error", "errorType": "execution", "error": "too much"}', "answered 422: too much"),
        (503, b'{"status": "error"}', "answered 503"),
        (500, b"oops", "answered 500 and no JSON"),
        (302, b"{}", "answered 302"),
        (401, b'"who?"', "answered 401"),
    ],
)
async def test_answers_that_are_none(serve: Serve, status: int, body: bytes, said: str) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})

    assert await failure(Prometheus(await serve(handler))) == said


async def test_an_answer_without_end_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_BYTES", 2**20)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"[" * 65_536)

    assert await failure(Prometheus(await serve(handler))) == "answered more than 1 MiB; ask for less"


async def test_who_does_not_answer_in_time_is_not_waited_for(serve: Serve) -> None:
    gone = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        await gone.wait()
        return web.Response()

    assert await failure(Prometheus(await serve(handler), seconds=0.2)) == "did not answer within 0.2 s"
    gone.set()


async def test_a_connection_that_is_cut(serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert (await failure(Prometheus(await serve(handler)))).startswith("cannot be asked (")


@pytest.mark.parametrize("url", ["http://nobody.invalid:9090", "prometheus:9090", "http://", "not a url"])
async def test_addresses_that_lead_nowhere(url: str) -> None:
    assert (await failure(Prometheus(url))).startswith("cannot be")


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert await failure(Prometheus(url)) == "cannot be reached (Connection refused)"


async def test_a_token_is_sent_and_read_again_each_time(serve: Serve, tmp_path: Path) -> None:
    shown = []

    async def handler(request: web.Request) -> web.StreamResponse:
        shown.append(request.headers.get("Authorization"))
        return web.json_response([])

    url, token = await serve(handler), tmp_path / "token"
    client = Alertmanager(url, token)
    with pytest.raises(UpstreamError, match="Alertmanager: cannot be asked"):
        await client.firing()
    for text in ("first\n", "second"):
        token.write_text(text)
        assert await client.firing() == []
    await client.close()
    assert shown == ["Bearer first", "Bearer second"]


async def test_the_first_failure_ends_what_else_is_under_way() -> None:
    ended = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise UpstreamError("Prometheus", "is away")

    with pytest.raises(UpstreamError):
        await upstream.together([long(), failing(), long()])
    await asyncio.sleep(0)
    assert ended == [True, True]


async def test_any_label_value_is_read_as_it_is_written(remember: Remember) -> None:
    client = Prometheus(remember(History([Shown("a:1", Journal([Logged(0)]), every(60.0, 1e9, 1e9 + 60))])).url)
    for value in ("web", "微信", 'qu"ote\\', "\ufffd", "\x00\n\t", "{}", "'`", "\U0001f600", "a,b=~.*"):
        (series,) = await client.query(f'label_replace(vector(1), "source", {quoted(value)}, "", "")', 1e9)
        assert series.labels == {"source": value}
        assert await client.query(selector("up", {"source": value}), 1e9) == []
    await client.close()


def test_durations_are_whole_milliseconds() -> None:
    assert [duration(seconds) for seconds in (300, 0.0015, 86_400.25)] == ["300000ms", "2ms", "86400250ms"]
