"""The receiver over HTTP: what it takes, how it answers, and that what it has acknowledged is stored once."""

import gzip
import os
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.otlp.sent import CHAT, as_json, failed, logs, record, span, traces
from tests.system.harness import started, wait_for
from tests.web.server import LOG_REQUEST, Answer, Client, Server, new_id, request_log

from fleetpulse.auth import Role
from fleetpulse.auth.keys import create

TRACES, LOGS = "/v1/traces", "/v1/logs"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
OUTCOMES = ("stored", "duplicate", "ignored", "rejected", "refused")


def new_span(attributes: dict[str, Any] | None = None, **changes: Any) -> Span:
    """A span that no other test sends."""
    return span(attributes, **({"trace_id": os.urandom(16), "span_id": os.urandom(8)} | changes))


def export(client: Client, request: Message, media: str = PROTOBUF, **headers: str) -> Answer:
    body = as_json(request) if media == JSON else request.SerializeToString()
    path = LOGS if isinstance(request, ExportLogsServiceRequest) else TRACES
    return client.send("POST", path, body, {"Content-Type": media} | headers)


def taken(answer: Answer, kind: type[Any] = ExportTraceServiceResponse) -> tuple[int, str]:
    """How many items a good answer says were rejected, and why."""
    assert (answer.status, answer.headers["Content-Type"]) == (200, PROTOBUF), answer
    partial = kind.FromString(answer.body).partial_success
    rejected = partial.rejected_spans if kind is ExportTraceServiceResponse else partial.rejected_log_records
    return rejected, partial.error_message


def refusal(answer: Answer, status: int, media: str = PROTOBUF) -> str:
    """What the Status of a bad answer says."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, media), answer
    message: str = (
        Status.FromString(answer.body).message if media == PROTOBUF else orjson.loads(answer.body)["message"]
    )
    assert message
    return message


def received(server: Server, signal: str = "traces") -> dict[str, float]:
    samples = server.metrics()
    name = "fleetpulse_otlp_items_received_total"
    return {each: samples[f'{name}{{outcome="{each}",signal="{signal}"}}'] for each in OUTCOMES}


def changed(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def row(server: Server, sent: Span, *columns: str) -> tuple[Any, ...]:
    key = f"{sent.trace_id.hex()}-{sent.span_id.hex()}"
    (found,) = server.journal(f"SELECT {','.join(columns)} FROM requests WHERE request_id = ?", key)  # noqa: S608
    return found


def test_a_span_is_stored_with_its_cost_before_it_is_acknowledged(server: Server) -> None:
    sent = new_span()
    answer = export(server, traces(sent))
    assert (taken(answer), answer.body) == ((0, ""), b"")
    columns = (
        "source",
        "model",
        "provider",
        "status",
        "execution_time",
        "input_tokens",
        "cached_tokens",
        "tokens_used",
    )
    assert row(server, sent, *columns) == (
        "assistant", "gpt-4o-2024-08-06", "openai", "success", 1.5, 1_200, 1_000, 1_500,
    )  # fmt: skip
    usd = (200 * 2.5 + 1_000 * 1.25 + 300 * 10) / 1e6
    assert row(server, sent, "cost", "cost_source") == (pytest.approx(usd), "computed")


@pytest.mark.parametrize("media", [PROTOBUF, JSON, "application/json; charset=utf-8"])
@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_both_encodings_compressed_or_not(server: Server, media: str, encoding: str | None) -> None:
    sent = new_span()
    plain = traces(sent).SerializeToString() if media == PROTOBUF else as_json(traces(sent))
    body = COMPRESS[encoding](plain) if encoding else plain
    headers = {"Content-Type": media} | ({"Content-Encoding": encoding} if encoding else {})
    answer = server.send("POST", TRACES, body, headers)
    expected = (200, b"", PROTOBUF) if media == PROTOBUF else (200, b"{}", JSON)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == expected
    assert row(server, sent, "input_tokens") == (1_200,)


def test_an_empty_request_is_taken(server: Server) -> None:
    for path in (TRACES, LOGS):
        answer = server.send("POST", path, b"", {"Content-Type": PROTOBUF})
        assert (answer.status, answer.body) == (200, b"")


def test_rejected_items_are_told_and_the_others_are_stored(server: Server) -> None:
    before, signals = received(server), server.counted("request")
    good, bad = new_span(), new_span(CHAT | {"gen_ai.usage.input_tokens": -5})
    answer = export(server, traces(good, bad, new_span({"http.route": "/"})))
    rejected, why = taken(answer)
    assert (rejected, why) == (
        1,
        "1 spans rejected: input_tokens: Input should be greater than or equal to 0",
    )
    assert row(server, good, "status") == ("success",)
    assert changed(before, received(server)) == {"stored": 1, "rejected": 1, "ignored": 1}
    assert changed(signals, server.counted("request")) == {"stored": 1, "rejected": 1}
    answer = export(server, traces(bad), JSON)
    assert answer.json["partialSuccess"]["rejectedSpans"] == "1"


def test_sent_twice_counted_once(server: Server) -> None:
    before, signals = received(server), server.counted("request")
    again = traces(new_span(), new_span())
    for media in (PROTOBUF, PROTOBUF, JSON):
        assert export(server, again, media).status == 200
    assert changed(before, received(server)) == {"stored": 2, "duplicate": 4}
    assert changed(signals, server.counted("request")) == {"stored": 2, "duplicate": 4}


def test_events_become_request_logs_unless_a_span_tells_it(server: Server) -> None:
    before = received(server, "logs")
    sent = new_span()
    ids: dict[str, Any] = {"trace_id": sent.trace_id, "span_id": sent.span_id}
    outside = record(CHAT | {"gen_ai.response.id": new_id()})
    for _ in range(2):
        answer = export(server, logs(record(**ids, flags=1), outside, record(event_name="gen_ai.choice")))
        assert taken(answer, ExportLogsServiceResponse) == (0, "")
    assert changed(before, received(server, "logs")) == {"stored": 1, "duplicate": 1, "ignored": 4}
    bad = record(CHAT | {"gen_ai.usage.cost": -1.0})
    rejected, why = taken(export(server, logs(bad)), ExportLogsServiceResponse)
    assert (rejected, why) == (1, "1 log records rejected: cost: Input should be greater than or equal to 0")


def test_an_event_and_its_span_are_one_request(server: Server) -> None:
    """The span was not exported where the event came from, and comes another way."""
    sent = new_span()
    export(server, logs(record(trace_id=sent.trace_id, span_id=sent.span_id)))
    before = received(server)
    export(server, traces(sent))
    assert changed(before, received(server)) == {"duplicate": 1}


@pytest.mark.parametrize(
    ("body", "media"),
    [(b"\xff\xff\xff", PROTOBUF), (b"\x0a\x05x", PROTOBUF), (b"{", JSON), (b'{"resourceSpans":5}', JSON)],
)
@pytest.mark.parametrize("path", [TRACES, LOGS])
def test_what_cannot_be_read_is_bad_data(server: Server, path: str, body: bytes, media: str) -> None:
    before = server.counted("request")
    if path == LOGS:
        body = body.replace(b"Spans", b"Logs")
    answer = server.send("POST", path, body, {"Content-Type": media})
    assert refusal(answer, 400, media).startswith("the body is not ")
    if media == PROTOBUF:
        assert Status.FromString(answer.body).details[0].type_url.endswith("google.rpc.BadRequest")
    assert changed(before, server.counted("request")) == {"rejected": 1}


def test_a_body_that_is_not_compressed_as_it_says_is_bad_data(server: Server) -> None:
    for encoding in ("gzip", "br"):
        assert refusal(export(server, traces(), **{"Content-Encoding": encoding}), 400)


@pytest.mark.parametrize("media", ["text/plain", "application/grpc", "application/x-protobuf-x", ""])
def test_other_types_are_refused_in_json(server: Server, media: str) -> None:
    answer = server.send("POST", TRACES, b"", {"Content-Type": media})
    assert "application/x-protobuf" in refusal(answer, 415, JSON)


def test_metrics_are_not_taken(server: Server) -> None:
    server.send("POST", "/v1/metrics", b"", {"Content-Type": PROTOBUF}).problem(404, "not-found")


def test_what_fleetpulse_sends_comes_in_and_goes_nowhere(server: Server) -> None:
    before = received(server, "logs")
    export(server, logs(record(), scope="fleetpulse.signals"))
    assert changed(before, received(server, "logs")) == {"ignored": 1}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with little room."""
    yield from started(
        Server(
            tmp_path_factory.mktemp("narrow"),
            FLEETPULSE_LIMITS__BODY_BYTES="200000",
            FLEETPULSE_LIMITS__DECOMPRESSED_BYTES="400000",
            FLEETPULSE_LIMITS__BATCH_ITEMS="300",
            FLEETPULSE_JOURNAL__QUEUE_ROWS="300",
            FLEETPULSE_OTLP_IN__EVENTS="always",
        )
    )


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_limits(narrow: Server, media: str) -> None:
    many = traces(*(new_span({}) for _ in range(301)))
    assert "limits.batch_items" in refusal(export(narrow, many, media), 413, media)
    assert "limits.body_bytes" in refusal(
        narrow.send("POST", TRACES, bytes(200_001), {"Content-Type": media}), 413, media
    )
    bomb = {"Content-Type": media, "Content-Encoding": "gzip"}
    packed = gzip.compress(bytes(500_000))
    assert "limits.decompressed_bytes" in refusal(narrow.send("POST", TRACES, packed, bomb), 413, media)
    assert narrow.rows() == 0


def test_a_full_queue_is_told_as_retryable(narrow: Server) -> None:
    answers: list[Answer] = []

    def send() -> None:
        with closing(Client(narrow.port)) as client:
            while not enough():
                answers.append(export(client, traces(*(new_span() for _ in range(250)))))

    def enough() -> bool:
        return len(answers) > 1_000 or {200, 503} <= {answer.status for answer in answers}

    before = narrow.rows()
    senders = [threading.Thread(target=send) for _ in range(6)]
    for sender in senders:
        sender.start()
    wait_for(enough, what="an answer of each kind")
    for sender in senders:
        sender.join()
    refused = [answer for answer in answers if answer.status != 200]
    for answer in refused:
        assert "nothing of this call was kept" in refusal(answer, 503)
        assert Status.FromString(answer.body).code == 14
        assert int(answer.headers["Retry-After"]) >= 1
    assert narrow.rows() - before == 250 * (len(answers) - len(refused))
    assert received(narrow)["refused"] == 250 * len(refused)


def test_events_of_exported_spans_count_where_that_is_set(narrow: Server) -> None:
    sent = new_span(status=failed())
    export(narrow, logs(record(trace_id=sent.trace_id, span_id=sent.span_id, flags=1)))
    export(narrow, traces(sent))
    assert row(narrow, sent, "execution_time", "status") == (0.0, "success")


def test_duplicates_are_known_after_a_restart_and_across_doors(tmp_path: Path) -> None:
    sent = new_span()
    key = f"{sent.trace_id.hex()}-{sent.span_id.hex()}"
    server = Server(tmp_path)
    for _ in started(server):
        export(server, traces(sent))
        server.stop()
        server.start()
        export(server, traces(sent), JSON)
        export(server, logs(record(trace_id=sent.trace_id, span_id=sent.span_id)))
        assert server.give(LOG_REQUEST, request_log(request_id=key)).json["duplicates"] == 1
        assert server.rows() == 1
        assert server.counted("request") == {"stored": 1, "duplicate": 3, "rejected": 0, "refused": 0}


def test_credentials_are_asked_for_and_told_in_the_requests_encoding(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "app-keys.json"
    keys.parent.mkdir()
    key, secret = create(keys, name="app", role=Role.REPORTER)
    viewer, hidden = create(keys, name="screen", role=Role.VIEWER)
    server = Server(tmp_path)
    for _ in started(server):
        answer = export(server, traces(new_span()))
        assert (refusal(answer, 401), Status.FromString(answer.body).code) != ("", 0)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert refusal(export(server, traces(new_span()), JSON, Authorization="Bearer nonsense"), 401, JSON)
        assert refusal(export(server, traces(), **{"X-App-Key": viewer, "X-App-Secret": hidden}), 403)
        assert server.rows() == 0
        assert taken(export(server, traces(new_span()), Authorization=f"Bearer fp_{key}_{secret}")) == (0, "")
        assert taken(export(server, traces(new_span()), **{"X-App-Key": key, "X-App-Secret": secret})) == (0, "")
        assert server.rows() == 2


def test_a_request_while_stopping_is_told_as_retryable(tmp_path: Path) -> None:
    """Half a request has come, which the exporter waits for; what comes meanwhile is refused as a Status."""
    server = Server(tmp_path)
    head = f"POST {TRACES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 9\r\n\r\n"
    for _ in started(server):
        with socket.create_connection(("127.0.0.1", server.port)) as half:
            half.sendall(head.encode())
            assert export(server, traces(new_span())).status == 200
            server.process.terminate()
            answer = wait_for(lambda: refused_at_last(server), what="a refusal")
        assert "stopping" in refusal(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 1


def refused_at_last(client: Client) -> Answer | None:
    answer = export(client, traces(new_span()))
    return None if answer.status == 200 else answer
