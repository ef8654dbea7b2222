"""Exports from outside: whole, in bounded memory, given up when their client is, never more than allowed."""

import json
import random
import socket
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import Exporter, get, started, wait_for
from tests.system.sending import Batches

ROWS = 30_000
BATCH = 2_000
RUNNING = "fleetpulse_exports_running"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """An exporter with ROWS requests of a kilobyte."""
    exporter = Exporter(tmp_path_factory.mktemp("full"), FLEETPULSE_SEARCH__EXPORTS="2")
    for _ in started(exporter):
        batches = Batches(random.Random(1), "e", BATCH)
        for _ in range(ROWS // BATCH):
            logs = [log | {"command": log["command"] + "文" * 300} for log in next(batches).logs]
            assert exporter.post("/api/log-request", logs)[1]["accepted"] == BATCH
        yield exporter


class Slow:
    """A client that asks for an export and takes no more of it than it says."""

    def __init__(self, exporter: Exporter) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", exporter.port))
        self._socket.sendall(b"GET /api/requests/export?format=jsonl HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def take(self) -> bytes:
        """The next bytes."""
        return self._socket.recv(4_096)

    def close(self) -> None:
        """Goes away."""
        self._socket.close()


@pytest.fixture
def slow(full: Exporter) -> Iterator[Slow]:
    """A client that has begun."""
    client = Slow(full)
    assert client.take().startswith(b"HTTP/1.1 200 OK")
    yield client
    client.close()
    wait_for(lambda: full.metrics()[RUNNING] == 0, what="the export is given up")


def test_everything_once_and_in_order(full: Exporter) -> None:
    exported = [json.loads(line) for line in get(f"{full.url}/api/requests/export?format=jsonl").splitlines()]
    assert [each["request_id"] for each in exported] == [
        f"e-{batch}-{place}" for batch in range(1, ROWS // BATCH + 1) for place in range(BATCH)
    ]
    samples = full.metrics()
    counted = sum(v for name, v in samples.items() if name.startswith("fleetpulse_cost_usd_total{"))
    assert sum(each["cost"] for each in exported) == counted


@pytest.mark.usefixtures("slow")
def test_a_client_that_takes_nothing_is_not_read_for(full: Exporter) -> None:
    before = exported(full)
    wait_for(lambda: exported(full) == exported(full) > 0, what="the reading stops")
    assert full.metrics()[RUNNING] == 1
    assert exported(full) - before < ROWS / 2


def exported(full: Exporter) -> float:
    return full.metrics()["fleetpulse_exported_rows_total"]


@pytest.mark.usefixtures("slow")
def test_the_rest_goes_on_meanwhile(full: Exporter) -> None:
    log = {"request_id": "meanwhile", "source": "web", "status": "success", "execution_time": 1, "cost": 0}
    assert full.post("/api/log-request", log)[0] == 202
    assert full.get("/api/requests?limit=1")["requests"][0]["request_id"] == "meanwhile"


def test_too_many_are_told_to_come_again(full: Exporter, slow: Slow) -> None:
    other = Slow(full)
    assert other.take().startswith(b"HTTP/1.1 200 OK")
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{full.url}/api/requests/export")
    with refused.value as answer:
        assert (answer.code, answer.headers["Retry-After"]) == (503, "10")
        assert json.loads(answer.read())["type"] == "urn:fleetpulse:problem:overloaded"
    other.close()
    slow.close()
    wait_for(lambda: full.metrics()[RUNNING] == 0)
    assert get(f"{full.url}/api/requests/export?source=nobody").startswith("request_id,")


def test_a_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    for exporter in started(Exporter(tmp_path)):
        batches = Batches(random.Random(2), "s", BATCH)
        for _ in range(8):
            logs = [log | {"command": "文" * 500} for log in next(batches).logs]
            assert exporter.post("/api/log-request", logs)[0] == 202
        client = Slow(exporter)
        assert client.take().startswith(b"HTTP/1.1 200 OK")
        assert exporter.terminate() == 0
        taken = b""
        while piece := client.take():
            taken = piece
        client.close()
        assert not taken.endswith(b"0\r\n\r\n"), "nobody takes it for whole"
