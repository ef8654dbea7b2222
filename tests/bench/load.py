"""What the benchmarks share: server processes on free ports, and a load generator that costs little itself."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

START_SECONDS = 30.0
RUN_SECONDS = 120.0


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def exporter(**environment: str) -> Iterator[int]:
    """A real exporter with an empty journal; yields its port."""
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder:
        port = free_port()
        settings = {
            "FLEETPULSE_PORT": str(port),
            "FLEETPULSE_DATA_DIR": folder,
            "FLEETPULSE_LOG_LEVEL": "warning",
            **environment,
        }
        with process([sys.executable, "-m", "fleetpulse", "serve"], settings, port):
            yield port


@contextmanager
def process(command: Sequence[str], environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that answers on `port` while the context lasts."""
    server = subprocess.Popen(command, env={**os.environ, **environment}, cwd=Path(tempfile.gettempdir()))
    try:
        _wait(port)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers on port {port}")


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole HTTP/1.1 request, ready to be written to a socket."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last has come."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None], statuses: dict[int, int]) -> None:
        self._requests = requests
        self._done = done
        self._statuses = statuses
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is no subclass of it
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self._buffer = b""
        status = int(head[9:12])
        self._statuses[status] = self._statuses.get(status, 0) + 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
        else:
            self._transport.write(request)


async def _drive(port: int, requests: Sequence[bytes], connections: int) -> tuple[float, dict[int, int]]:
    loop = asyncio.get_running_loop()
    queue = iter(requests)
    statuses: dict[int, int] = {}
    done = [loop.create_future() for _ in range(connections)]
    started = time.perf_counter()
    for future in done:
        await loop.create_connection(partial(_Client, queue, future, statuses), "127.0.0.1", port)
    await asyncio.wait_for(asyncio.gather(*done), RUN_SECONDS)
    return time.perf_counter() - started, statuses


def drive(port: int, requests: Sequence[bytes], connections: int) -> float:
    """Sends every request once over so many connections; returns seconds. Raises unless each answer is 2xx."""
    seconds, statuses = uvloop.run(_drive(port, requests, connections))
    if any(not 200 <= status < 300 for status in statuses) or sum(statuses.values()) != len(requests):
        raise RuntimeError(f"answers by status: {statuses}")
    return seconds


def report(name: str, **figures: float | str) -> None:
    """One JSON line that `docs/performance.md` quotes."""
    sys.stdout.write(json.dumps({"bench": name, **figures}) + "\n")
    sys.stdout.flush()
