"""The recorder against servers that end the connection of a client who does not speak their protocol."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.tap.stage import recording, source_of, until
from websockets.asyncio.server import ServerConnection, serve

SECONDS = 10.0
HANDSHAKE = '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'


@asynccontextmanager
async def serving(speak: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    async with serve(speak, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


async def heard(connection: ServerConnection) -> str:
    async with asyncio.timeout(SECONDS):
        return str(await connection.recv())


async def test_rocket_chat_is_greeted_first_and_its_pings_are_answered() -> None:
    said: list[str] = []

    async def speak(connection: ServerConnection) -> None:
        said.extend([await heard(connection), await heard(connection)])
        await connection.send('{"msg":"connected","session":"s"}')
        await connection.send('{"msg":"ping"}')
        said.append(await heard(connection))
        await connection.send('{"msg":"ready","subs":["1"]}')
        await connection.wait_closed()

    subscribe = '{"msg":"sub","id":"1","name":"stream-room-messages","params":["GENERAL",false]}'
    async with serving(speak) as url:
        source = source_of(url, preset="rocket.chat", on_connect=[{"text": subscribe}])
        async with recording(source) as it:
            await until(lambda: len(it.recorded) == 3)
    assert [json.loads(each)["msg"] for each in said] == ["connect", "sub", "pong"]


async def test_auto_speaks_socket_io_once_the_server_has() -> None:
    said: list[str] = []

    async def speak(connection: ServerConnection) -> None:
        await connection.send("2")  # no ping before the handshake, so no answer
        await connection.send(HANDSHAKE)
        said.append(await heard(connection))
        await connection.send("2")
        said.append(await heard(connection))
        await connection.wait_closed()

    async with serving(speak) as url, recording(source_of(url)):
        await until(lambda: len(said) == 2)
    assert said == ["40", "3"]
