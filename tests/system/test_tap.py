"""The tap inside the exporter against a server written by others: what is recorded, and how each gap is told of."""

import json
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, get, started, wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

PAUSE = 0.002
BURST = 5


class Room:
    """A chat server. Whoever is connected is told numbers, which go on from connection to connection."""

    def __init__(self) -> None:
        self.said: list[int] = []
        self.silent = threading.Event()
        self.connections = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    def open(self) -> None:
        """Listens, on the port that it had before."""
        self._server = serve(self._talk, "127.0.0.1", self.port, close_timeout=5)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Closes every connection, and listens no more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server = None

    def _talk(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            while True:
                for _ in range(0 if self.silent.is_set() else BURST):
                    number = len(self.said) + 1
                    connection.send(json.dumps({"user": "小明", "text": f"第{number}条消息"}, ensure_ascii=False))
                    self.said.append(number)
                connection.ping()  # which finds out whether the connection is open
                time.sleep(PAUSE)
        except ConnectionClosed:
            pass


def tapping(folder: Path, room: Room) -> Exporter:
    """An exporter that records the room."""
    quick = {"first_seconds": 0, "base_seconds": 0.05, "cap_seconds": 0.2}
    stream = {
        "name": "room",
        "url": f"ws://127.0.0.1:{room.port}/ws?token=verysecret",
        "allow_private": True,
        "reconnect": quick,
    }
    return Exporter(folder, FLEETPULSE_TAP__STREAMS=json.dumps([stream]))


def recorded(exporter: Exporter) -> list[dict[str, Any]]:
    """Every message of the room, as it was stored."""
    lines = get(f"{exporter.url}/api/messages/export?format=jsonl&stream=room").splitlines()
    return [json.loads(line) for line in lines]


def events(exporter: Exporter) -> list[dict[str, Any]]:
    """What happened to the room, the oldest first."""
    found: list[dict[str, Any]] = exporter.get("/api/v1/group-ai/monitor/events?limit=100")["events"]
    return [event for event in found[::-1] if event["category"] == "tap"]


def kinds(exporter: Exporter) -> list[str]:
    return [event["kind"] for event in events(exporter)]


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [int(message["text"][1:-3]) for message in messages]


def connections(messages: list[dict[str, Any]]) -> dict[str, list[int]]:
    """The number of each message in its connection."""
    groups = groupby(messages, lambda message: str(message["connection"]))
    return {name: [int(each["message_id"].rpartition("/")[2]) for each in group] for name, group in groups}


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    room.open()
    yield room
    room.close()


@pytest.fixture
def exporter(tmp_path: Path, room: Room) -> Iterator[Exporter]:
    yield from started(tapping(tmp_path, room))


def test_all_that_was_said_is_recorded_once_through_restarts_on_either_side(room: Room, exporter: Exporter) -> None:
    wait_for(lambda: len(recorded(exporter)) > 200)
    room.close()
    wait_for(lambda: "stream_retrying" in kinds(exporter))
    room.open()
    wait_for(lambda: len(connections(recorded(exporter))) == 2)
    exporter.terminate()
    exporter.start()
    wait_for(lambda: len(connections(recorded(exporter))) == 3)
    room.silent.set()
    wait_for(lambda: numbers(recorded(exporter)) == room.said)
    one_to = [list(range(1, len(each) + 1)) for each in connections(recorded(exporter)).values()]
    assert list(connections(recorded(exporter)).values()) == one_to
    assert kinds(exporter) == [
        *("stream_connected", "stream_disconnected", "stream_retrying"),
        *("stream_connected", "stream_disconnected"),
        "stream_connected",
    ]
    ended = [event["detail"] for event in events(exporter) if event["kind"] == "stream_disconnected"]
    assert [(each["cause"], each["close_code"]) for each in ended] == [("closed", 1001), ("stopped", 1001)]
    assert [each["messages"] for each in ended] == [len(each) for each in one_to[:2]]
    total = exporter.metrics()['fleetpulse_chat_messages_total{stream="room",kind="message"}']
    assert total == len(room.said)
    shown = exporter.output() + str(events(exporter)) + str(exporter.metrics())
    assert "/ws" in shown
    assert "verysecret" not in shown


def test_after_a_kill_the_gap_is_bounded_by_two_events(room: Room, exporter: Exporter) -> None:
    wait_for(lambda: len(recorded(exporter)) > 200)
    exporter.kill()
    exporter.start()
    wait_for(lambda: len(connections(recorded(exporter))) == 2)
    found = connections(recorded(exporter))
    assert [each == list(range(1, len(each) + 1)) for each in found.values()] == [True, True]
    assert kinds(exporter) == ["stream_connected", "stream_lost", "stream_connected"]
    lost = events(exporter)[1]["detail"]
    name, before = next(iter(found.items()))
    assert (lost["connection"], lost["last_number"]) == (name, before[-1])
    assert numbers(recorded(exporter))[: before[-1]] == room.said[: before[-1]]
