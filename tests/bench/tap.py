"""A recorded stream at full speed: 10,000 messages a second from one server, stored, counted and searchable.

A server of the `websockets` library sends messages of about 250 bytes, half English, half Chinese; the exporter
records the stream. Every message must be stored once and in order, none lost, the counter equal to the rows, and
the newest found by a search; memory must be flat from the first third to the last. Beside it, the same messages
taken by a bare aiohttp client that only counts them.

Claim: 10,000 messages a second are taken as fast as they are sent. `--seconds 600` judges memory over ten minutes.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from load import free_port, process, report

HERE = Path(__file__).parent
RATE = 10_000
BARE_SECONDS = 10
STREAM = "bench"


@contextmanager
def talker(count: int) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The server; its port, and its process."""
    command = [sys.executable, str(HERE / "tap_server.py"), str(RATE), str(count)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline()), server
    finally:
        server.communicate(timeout=60)


def took(server: "subprocess.Popen[str]") -> float:
    """Seconds that sending took."""
    assert server.stdout is not None
    return float(server.stdout.readline())


async def count_only(port: int, count: int) -> None:
    """What any client has to do."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{port}", compress=0) as feed:
        for _ in range(count):
            await feed.receive()


def settings(port: int, folder: str) -> dict[str, str]:
    """The exporter, with the stream."""
    stream = {
        "name": STREAM,
        "url": f"ws://127.0.0.1:{port}/",
        "allow_private": True,
        "compression": False,
        "reconnect": {"first_seconds": 0, "max_attempts": 1},
    }
    return {
        "FLEETPULSE_DATA_DIR": folder,
        "FLEETPULSE_LOG_LEVEL": "warning",
        "FLEETPULSE_TAP__STREAMS": json.dumps([stream]),
        "FLEETPULSE_TAP__RULES": json.dumps([{"name": "urgent", "keywords": ["重要", "紧急"], "alert": False}]),
    }


def ask(port: int, path: str, **query: str) -> Any:
    """JSON from the exporter."""
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def counter(port: int) -> float:
    """The stream's messages as the exporter counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'fleetpulse_chat_messages_total{{stream="{STREAM}"'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))


def stored(folder: str) -> tuple[int, bool]:
    """Rows of the stream, and whether they are the messages in order, once each."""
    query = "SELECT text FROM messages WHERE stream = ? ORDER BY id"
    with closing(sqlite3.connect(f"file:{folder}/journal.db?mode=ro", uri=True)) as connection:
        count, in_order = 0, True
        for (text,) in connection.execute(query, (STREAM,)):
            in_order = in_order and text.startswith(f"number {count},")
            count += 1
    return count, in_order


def record(count: int) -> dict[str, Any]:
    """Records them all; what became of them."""
    sizes: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder, talker(count) as (port, server):
        own = free_port()
        command = [sys.executable, "-m", "fleetpulse", "serve"]
        with process(command, settings(port, folder) | {"FLEETPULSE_PORT": str(own)}, own) as exporter:
            watched = psutil.Process(exporter.pid)
            begun, last = time.monotonic(), -1.0
            while (now := counter(own)) < count and (now > last or time.monotonic() < begun + 60):
                last = now
                sizes.append((time.monotonic(), watched.memory_info().rss / 2**20))
                time.sleep(min(2.0, count / RATE / 10))
            sending = took(server)
            newest = ask(own, "/api/search", q=f'"number {count - 1}"', stream=STREAM)
            lag = catch_up(own)
            cores = sum(watched.cpu_times()[:2]) / (time.monotonic() - begun)
            counted = counter(own)
        rows, in_order = stored(folder)
    third = len(sizes) // 3 or 1
    return {
        "messages": count,
        "per_second": round(count / sending),
        "stored": rows,
        "in_order": in_order,
        "counted": counted,
        "newest_found": len(newest["messages"]) == 1,
        "index_behind_s": lag,
        "cores": round(cores, 2),
        "rss_mib_first_third": round(statistics.median(size for _, size in sizes[:third]), 1),
        "rss_mib_last_third": round(statistics.median(size for _, size in sizes[-third:]), 1),
    }


def catch_up(port: int) -> float:
    """Seconds until the index has all."""
    begun = time.monotonic()
    while time.monotonic() < begun + 300:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        behind = sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if "search" in line and "lag" in line and line[0] != "#"
        )
        if not behind:
            break
        time.sleep(0.5)
    return round(time.monotonic() - begun, 1)


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    count = RATE * parser.parse_args().seconds
    some = min(count, RATE * BARE_SECONDS)
    with talker(some) as (port, server):
        asyncio.run(count_only(port, some))
        bare = some / took(server)
    found = record(count)
    good = found["stored"] == found["counted"] == count and found["in_order"] and found["newest_found"]
    report("tap", bare_per_second=round(bare), ratio=round(found["per_second"] / bare, 2), whole=good, **found)


if __name__ == "__main__":
    main()
