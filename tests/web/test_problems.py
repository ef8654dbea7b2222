import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel, ValidationError, field_validator

from fleetpulse import errors
from fleetpulse.auth import Authenticator
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard, public
from fleetpulse.web.problems import CLIENT_GONE, MEDIA_TYPE, STATUS, problem_response

Client = TestClient[web.Request, web.Application]
Start = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[Client]]
DOCS = Path(__file__).parents[2] / "docs" / "problems.md"


def entry(folder: Path) -> Entry:
    settings = Settings(data_dir=folder)
    return Entry(Guard(Authenticator.from_settings(settings), settings), Instruments())


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    clients: list[Client] = []

    async def go(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Client:
        app = web.Application(client_max_size=1_000)
        routes = [web.route("*", "/x", public(handler)), web.get("/get", public(handler))]
        entry(tmp_path).install(app, routes)
        client: Client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield go
    for client in clients:
        await client.close()


async def raised(start: Start, error: BaseException) -> tuple[int, dict[str, Any], dict[str, str]]:
    async def handler(_: web.Request) -> web.Response:
        raise error

    client = await start(handler)
    async with client.get("/x") as response:
        assert response.content_type == MEDIA_TYPE
        return response.status, await response.json(content_type=MEDIA_TYPE), dict(response.headers)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidInputError("no"), 422, "invalid-input"),
        (errors.MalformedError("no"), 400, "malformed"),
        (errors.TooLargeError("no"), 413, "too-large"),
        (errors.UnauthenticatedError("no"), 401, "unauthenticated"),
        (errors.ForbiddenError("no"), 403, "forbidden"),
        (errors.NotFoundError("no"), 404, "not-found"),
        (errors.OverloadedError("no"), 503, "overloaded"),
        (errors.StorageFullError("no"), 503, "storage-full"),
        (errors.UpstreamError("Prometheus", "no"), 503, "upstream"),
    ],
)
async def test_each_error_has_its_status_and_shape(
    start: Start, error: errors.FleetpulseError, status: int, code: str
) -> None:
    got, body, headers = await raised(start, error)
    assert got == status
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["type"] == f"urn:fleetpulse:problem:{code}"
    assert body["status"] == status
    assert body["detail"] == error.detail
    assert ("Retry-After" in headers) == (status == 503)
    assert ("WWW-Authenticate" in headers) == (status == 401)


async def test_overload_says_when_to_try_again(start: Start) -> None:
    _, _, headers = await raised(start, errors.OverloadedError("full", retry_after=7))
    assert headers["Retry-After"] == "7"


async def test_errors_of_items_are_listed_and_bounded(start: Start) -> None:
    listed = [{"loc": ["items", n], "msg": "wrong"} for n in range(5_000)]
    _, body, _ = await raised(start, errors.InvalidInputError("no", listed))
    assert body["errors"] == listed[:100]


class Secretive(BaseModel):
    token: int
    checked: str = ""

    @field_validator("checked")
    @classmethod
    def _fails(cls, _: str) -> str:
        raise ValueError("is checked and wrong")


def invalid(data: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Secretive.model_validate(data)
    return caught.value


async def test_validation_names_the_place_and_never_repeats_the_input(start: Start) -> None:
    status, body, _ = await raised(start, invalid({"token": "hunter2", "checked": "hunter3"}))
    assert status == 422
    assert [item["loc"] for item in body["errors"]] == [["token"], ["checked"]]
    assert "hunter" not in json.dumps(body)


def test_text_that_is_no_unicode_is_still_json() -> None:
    response = problem_response(errors.InvalidInputError("\ud800", [{"loc": ["\udfff"], "msg": "x"}]))
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["errors"][0]["loc"] == ["\udfff"]


async def test_the_unforeseen_is_opaque_outside_and_explained_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, _ = await raised(start, ZeroDivisionError("the secret reason"))
    assert status == 500
    assert "secret reason" not in json.dumps(body)
    incident = body["detail"].rpartition(" ")[2]
    assert incident in caplog.text
    assert "the secret reason" in caplog.text


async def test_configuration_errors_are_not_for_clients(start: Start) -> None:
    status, body, _ = await raised(start, errors.ConfigError("the path is /etc/x"))
    assert status == 500
    assert "/etc/x" not in json.dumps(body)


async def test_no_route_and_wrong_method(start: Start) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    client = await start(handler)
    async with client.get("/nowhere") as response:
        assert (response.status, response.content_type) == (404, MEDIA_TYPE)
        assert (await response.json(content_type=MEDIA_TYPE))["detail"] == "Not Found"
    async with client.post("/get") as response:
        assert (response.status, response.content_type) == (405, MEDIA_TYPE)
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_a_body_over_the_limit_is_413(start: Start) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    client = await start(handler)
    async with client.post("/x", data=b"x" * 5_000) as response:
        assert response.status == 413
        assert (await response.json(content_type=MEDIA_TYPE))["type"].endswith(":too-large")


async def test_a_body_that_is_not_what_its_headers_say_is_400(start: Start) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    client = await start(handler)
    async with client.post("/x", data=b"no gzip", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400
        assert response.content_type == MEDIA_TYPE


async def test_other_statuses_pass_as_problems_and_redirects_as_they_are(start: Start) -> None:
    status, body, _ = await raised(start, web.HTTPConflict())
    assert status == body["status"] == 409

    async def handler(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    client = await start(handler)
    async with client.get("/x", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/elsewhere")


async def test_a_client_that_leaves_mid_body_is_no_incident(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reading, over = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        reading.set()
        try:
            return web.Response(body=await request.read())
        finally:
            asyncio.get_running_loop().call_later(0, over.set)

    app = web.Application()
    entry(tmp_path).install(app, [web.post("/x", public(handler))])
    runner = web.AppRunner(app)  # as served: the test server would cancel the handler instead
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf")
        await reading.wait()
        writer.close()
        await over.wait()
        await runner.cleanup()
    assert "the client went away" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_answer_that_breaks_off_is_cut_and_never_ends_well(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"row 1\n")
        raise errors.StorageFullError("gone")

    client = await start(handler)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    try:
        async with asyncio.timeout(10):
            received = await reader.read()
    except ConnectionError:
        pass
    writer.close()
    assert b"problem" not in received
    assert not received.endswith(b"0\r\n\r\n")
    assert "broke off" in caplog.text


async def test_a_websocket_that_breaks_is_cut_without_http_in_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise ZeroDivisionError

    client = await start(handler)
    async with ClientSession() as session, session.ws_connect(client.make_url("/x")) as socket:
        message = await socket.receive(timeout=10)
    assert message.data in (None, 1006)
    assert "broke off" in caplog.text


def test_every_code_is_documented() -> None:
    text = DOCS.read_text("utf-8")
    for code, (status, title) in STATUS.items():
        assert f"| `{code}` | {status} | {title} |" in text
    assert str(CLIENT_GONE) in text


def test_every_error_has_a_row() -> None:
    def family(kind: type[errors.FleetpulseError]) -> set[str]:
        return {kind.code}.union(*(family(child) for child in kind.__subclasses__()))

    of_the_start = {errors.ConfigError.code, errors.JournalDamagedError.code}
    assert family(errors.FleetpulseError) - of_the_start <= set(STATUS)
