"""The recorder against servers for Node, through closes, cuts, restarts and a server that hangs."""

import asyncio
import signal
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pytest
from tests.tap.node_servers import NodeServer, install, node_server
from tests.tap.stage import Stage, recording, source_of, until

COUNT = 1_000


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The servers with what they need, installed once."""
    return install(tmp_path_factory.mktemp("node"))


def texts(stage: Stage) -> Iterable[tuple[str, list[str]]]:
    """What each connection said, whatever the sort of message."""
    for name, messages in groupby(stage.recorded, lambda each: each.frame.connection):
        data = (each.frame.data for each in messages)
        yield name, [(each if isinstance(each, str) else each.decode()).strip() for each in data]


def numbers(said: list[str]) -> list[int]:
    return [int(each.split(":")[1]) for each in said if each != "last"]


@pytest.mark.parametrize("compression", [True, False])
async def test_everything_that_ws_said_is_recorded_once_through_closes_and_cuts(
    packages: Path, *, compression: bool
) -> None:
    with node_server(packages, "ws_server.mjs", COUNT) as server:
        async with recording(source_of(f"ws://127.0.0.1:{server.port}/", compression=compression)) as it:
            await until(lambda: f"run-3:{COUNT}" in _last_place(it))
    said = [numbers(each) for _, each in texts(it)]
    assert said[0] == said[2] == list(range(1, COUNT + 1))
    assert said[1] == list(range(1, len(said[1]) + 1))  # a cut takes what was under way, never what is in between
    causes = [detail["cause"] for kind, detail in it.told if kind == "stream_disconnected"]
    assert causes == ["closed", "lost", "stopped"]
    assert it.detail("stream_disconnected", 0)["close_code"] == 1012
    assert it.detail("stream_connected", 0)["compression"] is compression
    assert {each.frame.opcode for each in it.recorded} == {1, 2}


async def test_a_killed_and_restarted_server_leaves_a_gap_between_two_events_and_no_hole(packages: Path) -> None:
    with node_server(packages, "ws_server.mjs", 200_000) as server:
        async with recording(source_of(f"ws://127.0.0.1:{server.port}/")) as it:
            for round_ in (1, 2):
                await until(lambda: len(it.recorded) > 500)
                await asyncio.to_thread(_restart, server)
                await _connected_again(it, round_ + 1)
            await until(lambda: it.recorded[-1].frame.connection == "run-3")
    for _, said in texts(it):
        assert numbers(said) == list(range(1, len(said) + 1))
    assert it.detail("stream_disconnected", 0)["cause"] == "lost"


async def test_a_server_that_hangs_is_left_and_found_again(packages: Path) -> None:
    with node_server(packages, "ws_server.mjs", 10) as server:
        source = source_of(
            f"ws://127.0.0.1:{server.port}/", ping_seconds=0.2, dead_seconds=0.8, connect_seconds=0.5
        )
        async with recording(source) as it:
            await until(lambda: "run-3:10" in _places(it))
            server.signal(signal.SIGSTOP)
            await until(lambda: "silent" in _causes(it))
            server.signal(signal.SIGCONT)
            await until(lambda: "run-4:10" in _places(it))


async def test_socket_io_is_joined_and_its_heartbeat_answered(packages: Path) -> None:
    with node_server(packages, "socket_io_server.mjs", 400) as server:
        url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
        async with recording(source_of(url)) as it:
            await until(lambda: it.recorded and str(it.texts[-1]).endswith('"400"}]'))
            beats = it.texts.count("2")
            await until(lambda: it.texts.count("2") >= beats + 4)
            assert it.kinds == ["stream_connected"]
    events = [text for text in it.texts if str(text).startswith("42")]
    assert events == [f'42["message",{{"user":"小明","text":"{number}"}}]' for number in range(1, 401)]


def _causes(stage: Stage) -> list[str]:
    return [detail["cause"] for kind, detail in stage.told if kind == "stream_disconnected"]


def _last_place(stage: Stage) -> list[str]:
    return [f"{each.frame.connection}:{each.frame.number}" for each in stage.recorded[-1:]]


def _places(stage: Stage) -> list[str]:
    return [f"{each.frame.connection}:{each.frame.number}" for each in stage.recorded]


async def _connected_again(stage: Stage, times: int) -> None:
    await until(lambda: stage.count("stream_connected") == times)


def _restart(server: NodeServer) -> None:
    server.stop()
    server.start()
