"""OTLP spans over HTTP against raw `executemany` of the same rows, in the same run.

Each request holds 512 GenAI spans of 12 attributes, as SDKs send them; protobuf, not compressed. Each is new and
answered once its request log is on disk: what was acknowledged is in the journal. Of the mixed load half are spans
of other things, which are accepted and counted.

Claim: 20,000 spans/s of model calls, on two cores that the load generator shares, or 0.30 or more of raw
`executemany` of ready tuples with the same settings.
"""

import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from load import drive, exporter, post, report
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from fleetpulse.journal.rows import REQUESTS, RequestRow
from fleetpulse.journal.schema import open_writer

BATCH = 512
BATCHES = 160
CONNECTIONS = 4
ROUNDS = 3
SERVICES = ("telegram", "discord", "wechat", "web")
MODELS = ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18")
Attributes = dict[str, str | int | float | list[str]]
WEB: Attributes = {
    "http.request.method": "POST",
    "url.full": "https://api.example.com/v1/items?page=3",
    "http.response.status_code": 200,
    "http.route": "/v1/items",
    "server.address": "api.example.com",
    "server.port": 443,
    "network.protocol.version": "1.1",
    "user_agent.original": "python-httpx/0.28",
    "url.scheme": "https",
    "client.address": "10.0.0.7",
    "network.peer.address": "10.0.0.8",
    "network.peer.port": 55_012,
}


def genai(batch: int, number: int) -> Attributes:
    """The attributes of one model call, by the newest conventions."""
    model = MODELS[number % 2]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model[:-11],
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"chatcmpl-{batch:04}-{number:04}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 1_200 + number % 100,
        "gen_ai.usage.output_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": 1_024,
        "gen_ai.conversation.id": f"conversation-{number % 50}",
        "gen_ai.request.temperature": 0.7,
        "server.address": "api.openai.com",
    }


def set_attributes(span: Span, attributes: Attributes) -> None:
    """Puts attributes into a message."""
    for name, value in attributes.items():
        pair = span.attributes.add(key=name)
        if isinstance(value, str):
            pair.value.string_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        else:
            for each in value:
                pair.value.array_value.values.add(string_value=each)


def body(batch: int, *, others: bool) -> bytes:
    """One export request; with `others`, every second span is one of something else."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for name, value in {
        "service.name": SERVICES[batch % 4],
        "service.version": "1.4.2",
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "1.45.1",
        "service.instance.id": f"instance-{batch % 4}",
    }.items():
        resource.resource.attributes.add(key=name).value.string_value = value
    scope: ScopeSpans = resource.scope_spans.add()
    scope.scope.name = "opentelemetry.instrumentation.openai_v2"
    now = time.time_ns()
    for number in range(BATCH):
        other = others and number % 2
        span = scope.spans.add(
            trace_id=os.urandom(16),
            span_id=os.urandom(8),
            parent_span_id=os.urandom(8),
            name="POST" if other else "chat gpt-4o",
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=now - 1_500_000_000,
            end_time_unix_nano=now,
        )
        set_attributes(span, WEB if other else genai(batch, number))
    return request.SerializeToString()


def over_http(*, others: bool) -> float:
    """Spans a second through an exporter. Raises unless what was acknowledged is stored."""
    requests = [post("/v1/traces", body(n, others=others), "application/x-protobuf") for n in range(BATCHES)]
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder:
        with exporter(FLEETPULSE_DATA_DIR=folder) as port:
            seconds = drive(port, requests, CONNECTIONS)
        stored = rows(Path(folder) / "journal.db")
    acknowledged = BATCH * BATCHES // (2 if others else 1)
    if stored != acknowledged:
        raise RuntimeError(f"{acknowledged} calls were acknowledged, {stored} are stored")
    return BATCH * BATCHES / seconds


def rows(journal: Path) -> int:
    """How many request logs a journal holds."""
    connection = sqlite3.connect(journal)
    (count,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    connection.close()
    return int(count)


def raw() -> float:
    """Rows a second of `executemany` with ready tuples."""
    columns, marks = ",".join(REQUESTS.columns), ",".join("?" * len(REQUESTS.columns))
    insert = f"INSERT INTO requests ({columns}) VALUES ({marks}) ON CONFLICT (request_id) DO NOTHING"  # noqa: S608 - our own names
    batches = [[row(number) for number in range(BATCH)] for _ in range(BATCHES)]
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder:
        connection = open_writer(Path(folder) / "journal.db", "full")
        started = time.perf_counter()
        for batch in batches:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, batch)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - started
        connection.close()
    return BATCH * BATCHES / seconds


def row(number: int) -> RequestRow:
    """The tuple that the exporter makes of a span."""
    trace = os.urandom(16).hex()
    values = dict.fromkeys(RequestRow._fields) | {
        "request_id": f"{trace}-{os.urandom(8).hex()}",
        "received_at": time.time(),
        "timestamp": time.time() - 1.5,
        "source": SERVICES[number % 4],
        "user_id": "",
        "command": "chat",
        "status": "success",
        "model": MODELS[number % 2],
        "provider": "openai",
        "execution_time": 1.5,
        "tokens_used": 1_500 + number % 100,
        "input_tokens": 1_200 + number % 100,
        "output_tokens": 300,
        "cached_tokens": 1_024,
        "cost": 0.0047,
        "cost_source": "computed",
        "session_id": f"conversation-{number % 50}",
        "trace_id": trace,
        "metadata": '{"gen_ai.response.id":"chatcmpl-1","gen_ai.response.finish_reasons":["stop"],'
        '"gen_ai.request.temperature":0.7,"server.address":"api.openai.com","service.version":"1.4.2"}',
    }
    return RequestRow(**values)  # type: ignore[arg-type]  # a benchmark's own literal


def main() -> None:
    """Prints one JSON line."""
    rates: dict[str, list[float]] = {"raw": [], "spans": [], "mixed": []}
    for _ in range(ROUNDS):
        rates["raw"].append(raw())
        rates["spans"].append(over_http(others=False))
        rates["mixed"].append(over_http(others=True))
    base, spans, mixed = (statistics.median(each) for each in rates.values())
    report(
        "otlp",
        raw_rows_per_second=round(base),
        spans_per_second=round(spans),
        mixed_spans_per_second=round(mixed),
        ratio=round(spans / base, 3),
        ratios=" ".join(f"{s / r:.2f}" for r, s in zip(rates["raw"], rates["spans"], strict=True)),
    )


main()
