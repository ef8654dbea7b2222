"""A disk that is really full: ingest says so and recovers by itself; everything else keeps working meanwhile."""

import json
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.system.harness import Exporter, wait_for
from tests.system.sending import Batches, Load, exposed, stored
from websockets.sync.client import connect

MEBIBYTE = 2**20
DISK = 24 * MEBIBYTE
BEAT = {"status": "busy", "cpu_usage": 10, "memory_usage": 20}
MOUNT = 'mount -t tmpfs -o "size=$1" fleetpulse "$2" && shift 2 && exec "$@"'
SPACES = (["unshare", "-rm"], ["unshare", "-m"])  # without root where the kernel allows it; with root


class OnSmallDisk(Exporter):
    """An exporter whose data folder is a disk of its own, in a mount namespace of its own."""

    def __init__(self, folder: Path, space: list[str]) -> None:
        super().__init__(folder)
        self.data_dir.mkdir()
        self._command = [*space, "sh", "-c", MOUNT, "sh", str(DISK), str(self.data_dir), *self._command]

    @property
    def disk(self) -> Path:
        """The data folder as the exporter sees it."""
        return Path(f"/proc/{self.pid}/root{self.data_dir}")

    @property
    def ballast(self) -> Path:
        """A file that takes room away."""
        return self.disk / "ballast"

    def fill(self) -> None:
        """Leaves no byte of the disk."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (MEBIBYTE, 4_096):
                while write(file.fileno(), bytes(size)):
                    pass


def write(descriptor: int, data: bytes) -> bool:
    """Writes it all, or says that there is no room."""
    try:
        return os.write(descriptor, data) == len(data)
    except OSError:
        return False


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[OnSmallDisk]:
    program = OnSmallDisk(tmp_path / "exporter", a_space(tmp_path))
    try:
        program.start()
        yield program
    finally:
        program.stop()


def a_space(scratch: Path) -> list[str]:
    """How to get a mount namespace here; skips where there is no way."""
    said = []
    for space in SPACES:
        trial = [*space, "sh", "-c", MOUNT, "sh", str(MEBIBYTE), str(scratch), "true"]
        try:
            done = subprocess.run(trial, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"no small disk can be made here: {error}")
        if done.returncode == 0:
            return space
        said.append(done.stderr.strip())
    pytest.skip(f"no small disk can be made here: {'; '.join(said)}")


def test_a_full_disk_is_told_and_outlived(exporter: OnSmallDisk, tmp_path: Path) -> None:
    load = Load(exporter.port, Batches(random.Random(1), "full", 50), connections=3)
    load.start()
    wait_for(lambda: len(load.acknowledged) > 20, what="batches stored")
    exporter.fill()
    wait_for(lambda: load.statuses.get(503, 0) > 10, what="answers that say the disk is full")
    load.stop()
    check_what_goes_on(exporter)
    before = load.sums()
    assert stored(exporter.disk, tmp_path) == exposed(exporter.metrics()) == before
    exporter.ballast.unlink()
    load.settle()
    assert load.broken == []
    assert load.duplicates == 0, "something of a refused batch was kept"
    assert load.sums().requests > before.requests
    assert stored(exporter.disk, tmp_path) == exposed(exporter.metrics()) == load.sums()
    assert exporter.metrics()["fleetpulse_journal_writable"] == 1
    assert exporter.get("/health")["status"] == "ok"


def check_what_goes_on(exporter: OnSmallDisk) -> None:
    """Ingest refuses honestly; metrics, health, heartbeats and the live feed work."""
    status, headers, document = refused(exporter)
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert document["type"] == "urn:fleetpulse:problem:storage-full"
    assert int(headers["Retry-After"]) >= 1
    samples = exporter.metrics()
    assert samples["fleetpulse_journal_writable"] == 0
    assert samples['fleetpulse_journal_commit_failures_total{reason="storage"}'] > 0
    assert samples['fleetpulse_ingest_signals_total{kind="request",outcome="refused"}'] > 0
    assert exporter.get("/health")["status"] == "degraded"
    with connect(f"ws://127.0.0.1:{exporter.port}/ws/agent-pools/default/metrics") as feed:
        assert json.loads(feed.recv(30))["type"] == "initial_metrics"
        assert exporter.post("/api/v1/agents/alive/ping", BEAT)[0] == 202
        assert json.loads(feed.recv(30))["metrics"]["agent_id"] == "alive"
    assert exporter.metrics()['fleetpulse_agent_up{pool_id="default",agent_id="alive"}'] == 1


def refused(exporter: Exporter) -> tuple[int, dict[str, str], dict[str, object]]:
    """The answer to a request log, with its headers."""
    body = json.dumps(
        {"request_id": "x", "source": "s", "status": "ok", "execution_time": 1, "command": "x" * 8_000}
    )
    request = Request(f"{exporter.url}/api/log-request", body.encode(), {"Content-Type": "application/json"})  # noqa: S310
    with pytest.raises(HTTPError) as caught, urlopen(request, timeout=30):  # noqa: S310
        pass
    with closing(caught.value) as error:
        return error.code, dict(error.headers), json.loads(error.read())


def test_a_full_disk_is_no_reason_to_end_badly(exporter: OnSmallDisk) -> None:
    exporter.post("/api/v1/agents/unsaved/ping", BEAT)
    exporter.fill()
    batches = Batches(random.Random(3), "full", 100)
    wait_for(lambda: exporter.post("/api/log-request", next(batches).logs)[0] == 503, what="a full disk")
    assert exporter.terminate() == 0, exporter.output()
    assert "Traceback" not in exporter.output()
