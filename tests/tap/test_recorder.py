"""The recorder against the `websockets` library's server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.lines import a_line
from tests.tap.stage import Stage, given_up, recording, source_of, tcp_server, until
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from fleetpulse.config.tap import Message
from fleetpulse.errors import OverloadedError, UpstreamError

Handler = Callable[[ServerConnection], Awaitable[None]]


def url_of(server: Server) -> str:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return f"ws://127.0.0.1:{port}/room?token=verysecret"


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[Server]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield server


def saying(*messages: str | bytes, code: int | None = None, reason: str = "") -> Handler:
    """Says some things; then closes, or listens on."""

    async def handler(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message)
        if code is not None:
            await connection.close(code, reason)
        await connection.wait_closed()

    return handler


# Messages -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compression", [True, False])
async def test_messages_are_recorded_once_and_in_order(*, compression: bool) -> None:
    said = [f"消息 {number} {'x' * (number % 300)}{'!' * (number % 2)}" for number in range(3_000)]
    async with (
        serving(saying(*said)) as server,
        recording(source_of(url_of(server), compression=compression)) as it,
    ):
        await until(lambda: len(it.recorded) == len(said))
        assert it.texts == said
        assert it.recorded[1].rules == ("loud",)
        assert it.detail("stream_connected")["compression"] is compression
        assert it.recorder.state == "connected"
    assert it.kinds == ["stream_connected", "stream_disconnected"]
    assert it.detail("stream_disconnected")["cause"] == "stopped"
    assert it.value("fleetpulse_tap_received_bytes_total") == sum(len(each.encode()) for each in said)


async def test_a_frame_has_both_clocks_opcode_and_size() -> None:
    async with (
        serving(saying("é", b"\x00\xff", b"")) as server,
        recording(source_of(url_of(server))) as it,
    ):
        await until(lambda: len(it.recorded) == 3)
    text, binary, empty = (each.frame for each in it.recorded)
    assert (text.opcode, text.size, text.data) == (1, 2, "é")
    assert (binary.opcode, binary.size, binary.data) == (2, 2, b"\x00\xff")
    assert (empty.size, empty.number, empty.connection) == (0, 3, "run-1")
    assert 0 <= text.clock <= binary.clock
    assert text.received_at == pytest.approx(it.detail("stream_connected")["at"], abs=5)


async def test_the_address_is_shown_without_its_query() -> None:
    async with serving(saying("a")) as server, recording(source_of(url_of(server))) as it:
        await until(lambda: it.recorded)
        assert it.recorder.url_shown.endswith("/room")
    assert "verysecret" not in str(it.log)


# Ends and gaps ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "recorded"), [(1000, 1000), (1001, 1001), (1012, 1012), (1013, 1013), (4000, 4000)]
)
async def test_a_closed_connection_is_opened_again_and_the_gap_is_told(code: int, recorded: int) -> None:
    async with (
        serving(saying("a", "b", code=code, reason="later")) as server,
        recording(source_of(url_of(server))) as it,
    ):
        await until(lambda: len(it.recorded) >= 6)
    ended = it.detail("stream_disconnected", 0)
    assert (ended["cause"], ended["close_code"], ended["close_reason"]) == ("closed", recorded, "later")
    assert (ended["messages"], ended["bytes"]) == (2, 2)
    assert it.detail("stream_connected", 1)["connection"] == "run-2"
    assert it.value("fleetpulse_tap_disconnects_total", reason="closed") >= 2


async def test_it_survives_restarts_of_the_server() -> None:
    server = await serve(saying("1"), "127.0.0.1", 0)
    port = next(iter(server.sockets)).getsockname()[1]
    async with recording(source_of(f"ws://127.0.0.1:{port}/")) as it:
        for number in (2, 3):
            await until(partial(_has, it.recorded_count, number - 1))
            server.close()
            await server.wait_closed()
            await until(partial(_has, partial(it.count, "stream_retrying"), number - 1))
            server = await serve(saying(str(number)), "127.0.0.1", port)
        await until(lambda: len(it.texts) == 3)
    server.close()
    await server.wait_closed()
    assert it.kinds == [
        *["stream_connected", "stream_disconnected", "stream_retrying"] * 2,
        "stream_connected",
        "stream_disconnected",
    ]
    assert it.detail("stream_disconnected", 0)["close_code"] == 1001
    assert it.detail("stream_connected")["failed_attempts"] > 0
    assert it.value("fleetpulse_tap_disconnects_total", reason="unreachable") >= 2
    assert it.value("fleetpulse_tap_unconnected_seconds_total") > 0


async def test_a_connection_that_breaks_off_has_no_close_code() -> None:
    async with (
        serving(saying("a")) as server,
        a_line(next(iter(server.sockets)).getsockname()[1]) as line,
        recording(source_of(f"ws://127.0.0.1:{line.port}/")) as it,
    ):
        await until(lambda: it.recorded)
        line.cut()
        await until(lambda: len(it.recorded) == 2)
    ended = it.detail("stream_disconnected", 0)
    assert (ended["cause"], ended["close_code"]) == ("lost", 1006)


@asynccontextmanager
async def swallowing(target: int) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A line that carries until it is told to swallow everything, while TCP stays open: a half-open connection."""
    swallow = asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not swallow.is_set():
                writer.write(data)
        writer.transport.abort()

    async def carried(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", target)
        try:
            await asyncio.gather(pump(reader, forth), pump(back, writer))
        finally:
            forth.transport.abort()

    async with tcp_server(carried) as port:
        yield port, swallow


async def test_a_half_open_connection_is_found_and_opened_anew() -> None:
    async with (
        serving(saying("a")) as server,
        swallowing(next(iter(server.sockets)).getsockname()[1]) as (port, swallow),
    ):
        source = source_of(f"ws://127.0.0.1:{port}/", ping_seconds=0.1, dead_seconds=0.5, connect_seconds=0.5)
        async with recording(source) as it:
            await until(lambda: it.recorded)
            swallow.set()
            await until(lambda: "stream_retrying" in it.kinds)
            swallow.clear()
            await until(lambda: len(it.recorded) == 2)
    assert it.detail("stream_disconnected", 0)["cause"] == "silent"
    assert it.detail("stream_retrying")["cause"] == "timeout"


async def test_a_quiet_server_that_answers_pings_is_not_given_up() -> None:
    async with serving(saying("a"), ping_interval=None) as server:
        source = source_of(url_of(server), ping_seconds=0.05, dead_seconds=0.3)
        async with recording(source) as it:
            await until(lambda: it.recorded)
            await asyncio.sleep(1.0)
            assert it.kinds == ["stream_connected"]


# Causes that do not pass --------------------------------------------------------------------------------------
def answering(status: int, headers: dict[str, str] | None = None) -> Callable[..., Response]:
    return lambda _connection, _request: Response(
        status, HTTPStatus(status).phrase, Headers({"Content-Length": "0", **(headers or {})})
    )


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_is_final(status: int) -> None:
    async with serving(saying(), process_request=answering(status)) as server:
        it = await given_up(source_of(url_of(server)))
    assert it.kinds == ["stream_failed"]
    assert it.detail("stream_failed")["cause"] == "refused"
    assert it.recorder.why == f"HTTP {status} instead of a WebSocket"
    assert it.value("fleetpulse_tap_disconnects_total", reason="refused") == 1


async def test_a_breach_of_policy_is_final() -> None:
    async with serving(saying("a", code=1008, reason="verysecret is no good")) as server:
        it = await given_up(source_of(url_of(server)))
    assert it.kinds == ["stream_connected", "stream_disconnected", "stream_failed"]
    assert it.detail("stream_failed")["cause"] == "policy"
    assert it.detail("stream_disconnected")["close_reason"] == "*** is no good"


async def test_failures_are_bounded_where_that_is_set() -> None:
    async with serving(saying(), process_request=answering(500)) as server:
        it = await given_up(source_of(url_of(server), reconnect={**_quick(), "max_attempts": 3}))
    assert it.kinds == ["stream_retrying", "stream_failed"]
    assert it.detail("stream_failed")["failed_attempts"] == 3


async def test_time_is_bounded_where_that_is_set() -> None:
    async with serving(saying(), process_request=answering(502)) as server:
        it = await given_up(source_of(url_of(server), reconnect={**_quick(), "max_seconds": 0.3}))
    assert it.detail("stream_failed")["seconds_without"] >= 0.3


async def test_a_busy_server_says_when_to_come_again() -> None:
    asked: list[float] = []

    def process(_connection: ServerConnection, _request: Request) -> Response | None:
        asked.append(asyncio.get_running_loop().time())
        return answering(503, {"Retry-After": "1"})(None, None) if len(asked) == 1 else None

    async with serving(saying("a"), process_request=process) as server, recording(source_of(url_of(server))) as it:
        await until(lambda: it.recorded)
    assert asked[1] - asked[0] >= 1
    assert it.detail("stream_retrying")["cause"] == "busy"


async def test_a_redirect_is_not_followed() -> None:
    reached: list[object] = []

    async def inside(connection: ServerConnection) -> None:
        reached.append(connection)

    async with serving(inside) as target:
        where = {"Location": url_of(target).replace("ws:", "http:")}
        async with serving(saying(), process_request=answering(302, where)) as server:
            it = await given_up(source_of(url_of(server), headers={"Authorization": "Bearer abcdef"}))
    assert not reached
    assert it.detail("stream_failed")["cause"] == "redirected"
    assert "verysecret" not in str(it.log)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ws://127.0.0.1:1/", "http://[bad", "/elsewhere"])
async def test_nor_any_other(location: str) -> None:
    async with serving(saying(), process_request=answering(307, {"Location": location})) as server:
        it = await given_up(source_of(url_of(server)))
    assert it.detail("stream_failed")["cause"] == "redirected"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_private_addresses_are_refused_unless_they_are_allowed(host: str) -> None:
    reached: list[object] = []

    async def handler(connection: ServerConnection) -> None:
        reached.append(connection)

    async with serving(handler) as server:
        it = await given_up(source_of(url_of(server).replace("127.0.0.1", host), allow_private=False))
    assert not reached
    assert it.detail("stream_failed")["cause"] == "forbidden"


async def test_a_new_token_is_a_new_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetpulse.tap.renewal.LOOK_SECONDS", 0.05)
    token = tmp_path / "token"
    token.write_text("Bearer old-token\n")

    def process(_connection: ServerConnection, request: Request) -> Response | None:
        fits = request.headers["Authorization"] == "Bearer new-token"
        return None if fits else answering(401)(None, None)

    async with (
        serving(saying("a"), process_request=process) as server,
        recording(source_of(url_of(server), header_files={"Authorization": token})) as it,
    ):
        await until(lambda: it.recorder.state == "failed")
        token.write_text("Bearer new-token\n")
        await until(lambda: it.recorded)
    assert it.kinds == ["stream_failed", "stream_connected", "stream_disconnected"]
    assert "token" not in str(it.log)


# What it sends ------------------------------------------------------------------------------------------------
async def test_it_logs_in_sends_regularly_and_replies(tmp_path: Path) -> None:
    got: list[str | bytes] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.send(str(connection.subprotocol))
        async for message in connection:
            got.append(message)  # noqa: PERF401 - each is looked for as it comes

    (tmp_path / "password").write_text('pass"word\n')
    (tmp_path / "blob").write_bytes(b"\x00${PASSWORD}")
    async with serving(handler, subprotocols=[Subprotocol("chat.v2")]) as server:
        source = source_of(
            url_of(server),
            subprotocols=["chat.v3", "chat.v2"],
            secrets={"PASSWORD": tmp_path / "password"},
            on_connect=[{"text": '{"login": "${PASSWORD}"}'}, {"file": tmp_path / "blob", "binary": True}],
            regularly=[{"text": "still here", "every_seconds": 1}],
        )
        async with recording(source) as it:
            await until(lambda: len(got) == 3 and it.recorded)
            await it.recorder.send(Message.model_validate({"text": "reply"}))
            await until(lambda: len(got) >= 4)
    assert got[:3] == ['{"login": "pass\\"word"}', b"\x00${PASSWORD}", "still here"]
    assert "reply" in got[3:]
    assert it.texts == ["chat.v2"]
    assert it.detail("stream_connected")["subprotocol"] == "chat.v2"
    with pytest.raises(UpstreamError):
        await it.recorder.send(Message.model_validate({"text": "too late"}))


async def test_a_message_with_an_unknown_name_is_a_wrong_configuration() -> None:
    async with serving(saying("a")) as server:
        it = await given_up(source_of(url_of(server), on_connect=[{"text": "${NOBODY}"}]))
    assert it.detail("stream_failed")["cause"] == "configuration"


async def test_a_file_that_is_missing_may_come(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with (
        serving(saying("a")) as server,
        recording(source_of(url_of(server), header_files={"X-Token": token})) as it,
    ):
        await until(lambda: "stream_retrying" in it.kinds)
        assert it.detail("stream_retrying")["cause"] == "configuration"
        token.write_text("here")
        await until(lambda: it.recorded)


# What is too much ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compression", [True, False])
async def test_a_message_over_the_limit_ends_the_connection_and_is_told_of(*, compression: bool) -> None:
    codes: list[int | None] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.send("before")
        await connection.send("0" * 2_000_000)  # of which deflate leaves some 2 kB
        await connection.wait_closed()
        codes.append(connection.close_code)

    source = {"compression": compression, "max_message_bytes": 1_000_000}
    async with serving(handler) as server, recording(source_of(url_of(server), **source)) as it:
        await until(lambda: it.kinds.count("stream_disconnected") >= 2 and codes)
    ended = it.detail("stream_disconnected", 0)
    assert (ended["cause"], ended["close_code"], ended["messages"]) == ("too_big", 1009, 1)
    assert codes[0] == 1009
    assert it.value("fleetpulse_tap_lost_messages_total", reason="too_big") >= 2


async def test_a_store_that_is_slow_makes_the_server_wait_and_nothing_is_lost() -> None:
    sent: list[int] = []
    size = 100_000

    async def handler(connection: ServerConnection) -> None:
        for number in range(300):
            await connection.send(f"{number:06}" + "x" * size)
            sent.append(number)
        await connection.wait_closed()

    async with serving(handler, compression=None, ping_interval=None) as server:
        source = source_of(url_of(server), queue_messages=10, compression=False, ping_seconds=0.1, dead_seconds=0.4)
        async with recording(source) as it:
            it.gate.clear()
            await until(lambda: sent)
            await _steady(sent)
            assert len(sent) < 300, "the server was not made to wait"
            assert it.recorder.waiting <= 12
            await asyncio.sleep(0.6)  # longer than a dead connection is waited for: pausing is not silence
            it.gate.set()
            await until(lambda: len(it.recorded) == 300)
            assert it.kinds == ["stream_connected"]
    assert [str(text)[:6] for text in it.texts] == [f"{number:06}" for number in range(300)]
    assert it.value("fleetpulse_tap_paused_seconds_total") > 0.5


async def test_where_storage_refuses_it_is_asked_again_in_order() -> None:
    said = [str(number) for number in range(50)]
    async with serving(saying(*said)) as server:
        stage = Stage(source_of(url_of(server)))
        stage.refusals = [OverloadedError("full"), OverloadedError("full")]
        task = asyncio.create_task(stage.recorder.run())
        await until(lambda: len(stage.recorded) == 50)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stage.texts == said
    assert stage.value("fleetpulse_tap_lost_messages_total", reason="refused") == 0


async def test_only_the_message_that_cannot_be_stored_is_set_aside() -> None:
    said = [str(number) for number in range(40)]

    class Picky(Stage):
        async def _keep(self, messages: Any) -> None:
            if any(each.frame.data == "17" for each in messages):
                raise ValueError("not this one")
            await super()._keep(messages)

    async with serving(saying(*said)) as server:
        stage = Picky(source_of(url_of(server)))
        task = asyncio.create_task(stage.recorder.run())
        await until(lambda: len(stage.recorded) == 39)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stage.texts == [each for each in said if each != "17"]
    assert stage.value("fleetpulse_tap_lost_messages_total", reason="refused") == 1


async def test_at_the_end_what_cannot_be_kept_in_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetpulse.tap.recorder.STOP_SECONDS", 0.2)
    async with serving(saying("a", "b", "c")) as server:
        stage = Stage(source_of(url_of(server)))
        stage.gate.clear()
        task = asyncio.create_task(stage.recorder.run())
        await until(lambda: stage.recorder.waiting == 4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stage.value("fleetpulse_tap_lost_messages_total", reason="stopped") == 3
    assert not stage.log


async def test_at_the_end_what_is_under_way_is_kept() -> None:
    sent: list[int] = []

    async def handler(connection: ServerConnection) -> None:
        for number in count():
            await connection.send(str(number))
            sent.append(number)
            await asyncio.sleep(0)

    async with serving(handler, close_timeout=1) as server, recording(source_of(url_of(server))) as it:
        await until(lambda: len(it.recorded) > 100)
    assert it.texts[: len(sent)] == [str(number) for number in sent]  # the one after may have gone out as it closed


def _has(count: Callable[[], int], wanted: int) -> bool:
    return count() == wanted


async def _steady(values: list[int]) -> None:
    """Returns when nothing has been added for a while."""
    before = -1
    while len(values) != before:
        before = len(values)
        await asyncio.sleep(0.3)


def _quick() -> dict[str, Any]:
    return {"first_seconds": 0.0, "base_seconds": 0.02, "cap_seconds": 0.05}
