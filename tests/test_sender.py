import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.receiver import BROKEN, BUSY, LOST, Receiver

from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UpstreamError,
)
from fleetpulse.sender import Credentials, Sender, connect_url

ITEM = {"request_id": "a", "execution_time": 1.0}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.mark.parametrize("fault", [BUSY, BROKEN])
async def test_a_refused_payload_is_sent_again(receiver: Receiver, fault: str) -> None:
    receiver.faults.extend([fault, fault])
    heard: list[str] = []
    async with Sender(receiver.url, on_trouble=heard.append) as sender:
        answer = await sender.post("/api/log-request", [ITEM])
    assert answer == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert sender.retries == len(heard) == 2
    assert "HTTP 50" in heard[0]


async def test_what_is_read_is_insisted_on_too() -> None:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.Response(body=b"figures") if len(asked) > 1 else web.Response(status=503)

    app = web.Application()
    app.add_routes([web.get("/api/report/daily", answer)])
    async with TestServer(app) as server, Sender(str(server.make_url("/"))) as sender:
        assert await sender.get("/api/report/daily", {"source": "微信", "format": "md"}) == b"figures"
        assert sender.retries == 1
        with pytest.raises(NotFoundError):
            await sender.get("/nowhere")
    assert asked == [{"source": "微信", "format": "md"}] * 2


async def test_a_lost_answer_ends_as_a_duplicate(receiver: Receiver) -> None:
    receiver.faults.append(LOST)
    async with Sender(receiver.url) as sender:
        answer = await sender.post("/api/log-request", [ITEM])
    assert answer["duplicates"] == 1
    assert len(receiver.stored) == 1


async def test_it_waits_for_an_exporter_that_is_away(receiver: Receiver) -> None:
    await receiver.leave()
    away = asyncio.Event()
    async with Sender(receiver.url, on_trouble=lambda _: away.set()) as sender:
        sending = asyncio.create_task(sender.post("/api/log-request", [ITEM]))
        await asyncio.wait_for(away.wait(), 30)
        await receiver.listen()
        assert (await asyncio.wait_for(sending, 30))["accepted"] == 1


async def test_patience_runs_out_with_words(receiver: Receiver) -> None:
    await receiver.leave()
    async with Sender(receiver.url, patience=0) as sender:
        with pytest.raises(UpstreamError, match=r"cannot connect \(.+\) at http://127"):
            await sender.post("/api/log-request", [ITEM])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthenticatedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (413, TooLargeError),
        (422, InvalidInputError),
    ],
)
async def test_a_refusal_for_good_is_not_tried_again(status: int, kind: type[FleetpulseError]) -> None:
    async with Receiver(status=status) as receiver, Sender(receiver.url) as sender:
        with pytest.raises(kind, match="as the test wants"):
            await sender.post("/api/log-request", [ITEM])
        assert sender.retries == 0


async def test_credentials_travel_in_headers(receiver: Receiver) -> None:
    async with Sender(receiver.url, Credentials("key", "secret")) as sender:
        await sender.post("/api/log-request", [ITEM])
    assert receiver.headers["X-App-Key"] == "key"
    assert receiver.headers["X-App-Secret"] == "secret"
    async with Sender(receiver.url, Credentials(token="t")) as sender:  # noqa: S106 - made up
        await sender.post("/api/log-request", [ITEM])
    assert receiver.headers["Authorization"] == "Bearer t"
    assert "X-App-Key" not in receiver.headers


async def test_an_address_that_is_none_is_said_so() -> None:
    async with Sender("http://[nonsense") as sender:
        with pytest.raises(InvalidInputError, match="is not an address"):
            await sender.post("/x", {})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - what it means for a client
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("10.1.2.3", "http://10.1.2.3:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_a_client_reaches_what_a_server_listens_on(host: str, url: str) -> None:
    assert connect_url(host, 80) == url
