"""What sending every row to an OTLP collector costs ingest, and how fast a backlog is worked off.

Durable batches of 1,000 over HTTP, with an endpoint set against without one, in the same run; then the time until
the collector has the rest. Claim: ingest at full speed keeps 0.60 or more of its rate while rows go out, and what
waits is sent at 5,000 rows/s or more afterwards.
"""

import statistics
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import orjson
from load import drive, exporter, free_port, post, process, report

BATCH = 1_000
BATCHES = 100
CONNECTIONS = 8
ROUNDS = 3


def bodies() -> list[bytes]:
    """Requests that were never sent before."""
    return [post("/api/log-request", orjson.dumps([log(n) for n in range(BATCH)])) for _ in range(BATCHES)]


def log(number: int) -> dict[str, object]:
    """One request log as programs send it."""
    return {
        "request_id": uuid.uuid4().hex,
        "source": ("telegram", "discord", "wechat", "web")[number % 4],
        "user_id": f"user_{number % 100}",
        "command": "ai:你好",
        "status": "success" if number % 20 else "error",
        "execution_time": (number % 70) / 10,
        "model": "gpt-4o",
        "input_tokens": 100,
        "output_tokens": 50,
        "cost": 0.0003,
    }


def ingested(port: int) -> float:
    """Rows a second that were acknowledged."""
    return BATCH * BATCHES / drive(port, bodies(), CONNECTIONS)


def waiting(port: int) -> float:
    """Rows that are to be sent yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("fleetpulse_otlp_logs_backlog_rows"))


def drained(port: int) -> float:
    """Rows a second that are sent while nothing comes in."""
    began, left = time.perf_counter(), waiting(port)
    while waiting(port):
        time.sleep(0.1)
    return left / (time.perf_counter() - began)


def main() -> None:
    """Prints one JSON line."""
    alone, beside, rest = [], [], []
    collector = free_port()
    command = [sys.executable, str(Path(__file__).parent / "sink_server.py"), str(collector)]
    endpoint = f"http://127.0.0.1:{collector}/v1/logs"
    with process(command, {}, collector):
        for _ in range(ROUNDS):
            with exporter() as port:
                alone.append(ingested(port))
            with exporter(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=endpoint) as port:
                beside.append(ingested(port))
                rest.append(drained(port))
    report(
        "otlp_out",
        alone_rows_per_second=round(statistics.median(alone)),
        beside_rows_per_second=round(statistics.median(beside)),
        ratio=round(statistics.median(b / a for a, b in zip(alone, beside, strict=True)), 3),
        ratios=" ".join(f"{b / a:.2f}" for a, b in zip(alone, beside, strict=True)),
        backlog_rows_per_second=round(statistics.median(rest)),
    )


main()
