"""A client of the live feed that is cut off again and again, while events stream and the server is killed.

It ends with exactly what was stored, in order: nothing twice, nothing missing, as long as the journal keeps it.
"""

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.system.harness import Exporter, post, started, wait_for
from tests.system.sending import journal
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

EVENTS = 20_000
BATCH = 40
CUTS = 200
KILLS = 3
PAUSE = 0.03
PATIENCE = 30.0
BROKEN = (OSError, WebSocketException, http.client.HTTPException, TimeoutError)


class Reader(Protocol):
    """A client that keeps its place over connections."""

    def open(self) -> None:
        """Connects, and goes on where it was."""

    def event(self) -> dict[str, Any]:
        """The next event. Raises one of BROKEN when the connection is."""

    def cut(self) -> None:
        """Ends the connection without a word."""


class WebSocketReader:
    """Keeps epoch and offset, as `docs/live.md` says."""

    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/live"
        self._place: dict[str, Any] | None = None

    def open(self) -> None:
        self._feed = connect(self._url, compression=None, open_timeout=PATIENCE, legacy=True)
        asked = {"type": "subscribe", "topic": "requests"}
        self._feed.send(json.dumps(asked | ({"resume": self._place} if self._place else {})))
        answer = self._message()
        assert answer["type"] == "subscribed"
        assert answer["recovered"] is (self._place is not None)
        self._place = {"epoch": answer["epoch"], "offset": answer["offset"]}

    def event(self) -> dict[str, Any]:
        message = self._message()
        assert message["type"] == "event", message
        assert self._place is not None
        self._place["offset"] = message["offset"]
        return message

    def cut(self) -> None:
        with suppress(OSError):
            self._feed.socket.shutdown(socket.SHUT_RDWR)
        self._feed.close()

    def _message(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self._feed.recv(PATIENCE))
        return decoded


class EventReader:
    """Keeps the id that came last, as EventSource does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._id = ""

    def open(self) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        self._link.request("GET", "/api/v1/live?topics=requests", headers={"Last-Event-ID": self._id})
        self._answer = self._link.getresponse()
        assert self._answer.status == 200
        assert self._next()["type"] == "subscribed"
        while not self._id:
            self._line()

    def event(self) -> dict[str, Any]:
        message = self._next()
        assert message["type"] == "event", message
        return message

    def cut(self) -> None:
        self._link.close()
        self._answer.close()

    def _next(self) -> dict[str, Any]:
        while True:
            name, value = self._line()
            if name == "data":
                decoded: dict[str, Any] = json.loads(value)
                return decoded

    def _line(self) -> tuple[str, str]:
        line = self._answer.readline()
        if not line:
            raise ConnectionResetError
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            self._id = value
        return name, value


class Stream(threading.Thread):
    """Sends request logs at a steady pace, each until it is acknowledged."""

    def __init__(self, exporter: Exporter) -> None:
        super().__init__(daemon=True)
        self._exporter = exporter
        self.sent = 0
        self.done = False

    def run(self) -> None:
        while self.sent < EVENTS:
            ids = range(self.sent, self.sent + BATCH)
            wait_for(lambda ids=ids: self._send([f"r{n}" for n in ids]), PATIENCE)  # type: ignore[misc]
            self.sent += BATCH
            time.sleep(PAUSE)
        self.done = True

    def _send(self, ids: list[str]) -> bool:
        log = {"source": "test", "user_id": "u", "command": "c", "status": "success", "execution_time": 1.0}
        try:
            status, _ = post(self._exporter.url + "/api/log-request", [log | {"request_id": name} for name in ids])
        except http.client.HTTPException:
            return False
        return status == 202


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that keeps little in memory: what it forgot is read from the journal."""
    yield from started(Exporter(tmp_path / "exporter", FLEETPULSE_LIVE__HISTORY_MESSAGES="300"))


@pytest.mark.parametrize("make", [WebSocketReader, EventReader])
def test_cut_two_hundred_times(exporter: Exporter, make: Callable[[int], Reader], tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")  # noqa: T201 - shown by pytest when the test fails
    rng = random.Random(seed)
    reader = make(exporter.port)
    reader.open()
    stream = Stream(exporter)
    stream.start()
    kills = sorted(rng.sample(range(20, CUTS - 20), KILLS))
    got: list[dict[str, Any]] = []
    for cut in range(CUTS):
        read_some(reader, got, rng.randrange(2 * (EVENTS - len(got)) // (CUTS - cut) + 1))
        reader.cut()
        if cut in kills:
            exporter.kill()
            exporter.start()
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, 0.5))
        wait_for(lambda: reopened(reader), PATIENCE, "connected again")
    read_some(reader, got, EVENTS - len(got))
    reader.cut()
    stream.join(PATIENCE)
    assert stream.done
    stored = journal(exporter.data_dir, "SELECT id, request_id FROM requests ORDER BY id", tmp_path)
    assert [(event["offset"], event["data"]["request_id"]) for event in got] == [tuple(row) for row in stored]
    assert len(stored) == EVENTS


def reopened(reader: Reader) -> bool:
    """Whether it is connected again."""
    with suppress(*BROKEN):
        reader.open()
        return True
    return False


def read_some(reader: Reader, got: list[dict[str, Any]], count: int) -> None:
    """Reads so many events, at most all there will be."""
    got += [reader.event() for _ in range(min(count, EVENTS - len(got)))]
