"""Durable single POSTs against a bare aiohttp handler that only validates the same body, in the same run.

Claim: 0.75 or more of the bare handler's requests a second. Runs are interleaved, and the medians compared,
at 64 and at 256 connections.
"""

import statistics
import sys
import uuid
from pathlib import Path

import orjson
from load import drive, exporter, free_port, post, process, report

REQUESTS = 10_000
CONNECTIONS = (64, 256)
ROUNDS = 7


def bodies(count: int) -> list[bytes]:
    """Distinct request logs, ready to send."""
    return [
        post(
            "/api/log-request",
            orjson.dumps(
                {
                    "request_id": uuid.uuid4().hex,
                    "source": "web",
                    "user_id": f"user_{number % 100}",
                    "command": "ai:你好",
                    "status": "success",
                    "execution_time": 0.5,
                    "tokens_used": 150,
                    "cost": 0.0003,
                }
            ),
        )
        for number in range(count)
    ]


def compare(connections: int) -> None:
    """Prints one JSON line."""
    port = free_port()
    bare_server = [sys.executable, str(Path(__file__).with_name("bare_server.py")), str(port)]
    rates: dict[str, list[float]] = {"bare": [], "durable": []}
    with process(bare_server, {}, port), exporter() as durable:
        for _ in range(ROUNDS):
            rates["bare"].append(REQUESTS / drive(port, bodies(REQUESTS), connections))
            rates["durable"].append(REQUESTS / drive(durable, bodies(REQUESTS), connections))
    bare, kept = (statistics.median(rates[name]) for name in ("bare", "durable"))
    report(
        "ingest_singles",
        connections=connections,
        bare_per_second=round(bare),
        durable_per_second=round(kept),
        ratio=round(kept / bare, 3),
        ratios=" ".join(f"{d / b:.2f}" for b, d in zip(rates["bare"], rates["durable"], strict=True)),
    )


for number in CONNECTIONS:
    compare(number)
