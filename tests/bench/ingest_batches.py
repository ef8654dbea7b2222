"""Durable batches over HTTP against raw `executemany` into the same schema, in the same run.

1,000 rows a request, duplicates checked, totals updated, acknowledged after fsync. Claim: 100,000 rows/s, or 0.30
or more of raw `executemany`, which inserts ready tuples, 1,000 a transaction, with the same settings.
"""

import statistics
import tempfile
import time
import uuid
from pathlib import Path

import orjson
from load import drive, exporter, post, report

from fleetpulse.journal.rows import REQUESTS, RequestRow
from fleetpulse.journal.schema import open_writer

BATCH = 1_000
BATCHES = 150
CONNECTIONS = 8
ROUNDS = 3
SOURCES = ("telegram", "discord", "wechat", "web")


def log(number: int) -> dict[str, object]:
    """One request log as programs send it."""
    return {
        "request_id": uuid.uuid4().hex,
        "source": SOURCES[number % 4],
        "user_id": f"user_{number % 100}",
        "command": "ai:你好",
        "status": "success" if number % 20 else "error",
        "execution_time": (number % 70) / 10,
        "model": "gpt-4o",
        "input_tokens": 100,
        "output_tokens": 50,
        "cost": 0.0003,
    }


def over_http(port: int) -> float:
    """Rows a second through the exporter."""
    bodies = [post("/api/log-request", orjson.dumps([log(n) for n in range(BATCH)])) for _ in range(BATCHES)]
    return BATCH * BATCHES / drive(port, bodies, CONNECTIONS)


def raw(folder: Path) -> float:
    """Rows a second of `executemany` with ready tuples."""
    connection = open_writer(folder / f"{uuid.uuid4().hex}.db", "full")
    columns = ",".join(REQUESTS.columns)
    marks = ",".join("?" * len(REQUESTS.columns))
    insert = f"INSERT INTO requests ({columns}) VALUES ({marks}) ON CONFLICT (request_id) DO NOTHING"  # noqa: S608 - our own names
    batches = [[row(log(n)) for n in range(BATCH)] for _ in range(BATCHES)]
    started = time.perf_counter()
    for batch in batches:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, batch)
        connection.execute("COMMIT")
    rate = BATCH * BATCHES / (time.perf_counter() - started)
    connection.close()
    return rate


def row(fields: dict[str, object]) -> RequestRow:
    """The tuple that the exporter would make of a log."""
    values = dict.fromkeys(RequestRow._fields) | {"received_at": time.time(), "tokens_used": 150} | fields
    values["cost_source"] = "reported"
    return RequestRow(**values)  # type: ignore[arg-type]  # a benchmark's own literal


def main() -> None:
    """Prints one JSON line."""
    rates: dict[str, list[float]] = {"raw": [], "http": []}
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder:
        for _ in range(ROUNDS):
            rates["raw"].append(raw(Path(folder)))
            with exporter() as port:
                rates["http"].append(over_http(port))
    base, ours = (statistics.median(rates[name]) for name in ("raw", "http"))
    report(
        "ingest_batches",
        raw_rows_per_second=round(base),
        http_rows_per_second=round(ours),
        ratio=round(ours / base, 3),
        ratios=" ".join(f"{h / r:.2f}" for r, h in zip(rates["raw"], rates["http"], strict=True)),
    )


main()
