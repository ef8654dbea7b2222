"""Whatever comes in, at any address: no server error, nothing half-stored, and the sums always agree."""

import json
import socket
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.otlp.sent import as_json, logs, traces
from tests.otlp.test_wires import json_like, records, spans
from tests.web import shapes
from tests.web.admin_addresses import COMMANDS
from tests.web.admin_addresses import READS as ADMIN_READS
from tests.web.server import LOG_REQUEST, PINGS, PROBLEM, WEBHOOK, Answer, Server, counted
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fleetpulse.app import build
from fleetpulse.config import Settings

PING = "/api/v1/agents/{agent_id}/ping"
AGENTS = "/api/v1/agent-pools/{pool_id}/agents"
PAGES = ("/", "/docs", "/live", "/openapi.json", "/asyncapi.yaml", "/static/{name}")
MONEY = ("/api/budgets", "/api/prices", "/api/unpriced", "/api/corrections")
PRICING = ("/api/prices", "/api/unpriced/price")
STATISTICS = ("/api/metrics", "/api/hourly-stats", "/api/daily-stats", "/api/alerts")  # with nobody behind them
GROUP = "/api/v1/group-ai/monitor"
ACTIVITY, ACTIVITIES = f"{GROUP}/accounts/{{account_id}}/activity", f"{GROUP}/accounts/activity"
ACCOUNTS = (f"{GROUP}/accounts/metrics", f"{GROUP}/system", f"{GROUP}/alerts", f"{GROUP}/events")
DEALT = (f"{GROUP}/alerts/check", f"{GROUP}/alerts/{{alert_id}}/resolve")  # with nobody behind them
NOTICES, WISHES = "/api/v1/notifications", "/api/v1/notifications/preferences/{user_id}"
REPORT, MAIL = "/api/report/{kind}", "/api/report/{kind}/send"
ROWS = ("/api/requests", "/api/requests/export", "/api/requests/{request_id}")
MESSAGES = ("/api/messages", "/api/messages/export", "/api/search")
REPLAYS, REPLAY, PLAYED = "/api/v1/replays", "/api/v1/replays/{replay_id}", "/ws/replays/{replay_id}"
READS = (
    *PAGES,
    *ROWS,
    *MESSAGES,
    "/api/messages/{message_id}",
    "/api/stats",
    REPLAYS,
    REPLAY,
    *MONEY,
    *STATISTICS,
    *ACCOUNTS,
    NOTICES,
    WISHES,
    REPORT,
    "/metrics",
    "/health",
    "/-/healthy",
    "/-/ready",
    "/api/v1/agent-pools",
    AGENTS,
    "/api/v1/chat/sessions/{session_id}/messages",
    *ADMIN_READS,
)
WRITES = (LOG_REQUEST, PINGS, PING, WEBHOOK, ACTIVITY, ACTIVITIES)
RECEIVERS = ("/v1/traces", "/v1/logs")
CHATS = ("/ws/chat", "/ws/chat/session/{session_id}", "/ws/admin/monitor")
FEEDS = ("/ws/live", "/ws/agent-pools/{pool_id}/metrics", f"{GROUP}/ws/alerts", f"{GROUP}/ws/metrics", *CHATS)
EVENT_STREAM = "/api/v1/live"
CHOOSING = (f"{GROUP}/ws/metrics",)  # whose queries must be right
SIGNALS = {
    "request": {LOG_REQUEST},
    "alert": {WEBHOOK},
    "heartbeat": {PING, PINGS},
    "activity": {ACTIVITY, ACTIVITIES},
}
LIKE = {
    LOG_REQUEST: shapes.request_logs,
    PINGS: shapes.heartbeats,
    PING: shapes.heartbeats,
    WEBHOOK: shapes.notifications,
    ACTIVITY: shapes.activities,
    ACTIVITIES: shapes.activities,
}
# The exporter outlives an example, and so may a fixture: each example goes on from where the last one stopped.
CALM = [HealthCheck.function_scoped_fixture]
MANY = settings(max_examples=100, deadline=None, suppress_health_check=CALM)
FEW = settings(max_examples=40, deadline=None)
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

reads, writes, feeds = st.sampled_from(READS), st.sampled_from(WRITES), st.sampled_from(FEEDS)


class Books(NamedTuple):
    """What the journal holds and what the series say of it."""

    requests: int
    alerts: int
    activities: int
    signals: dict[str, dict[str, float]]


class Audit:
    """Reads the books after each request: they must agree with each other and with what was answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.last = self.read()

    def send(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Posts a body; whatever the answer, the books agree with it afterwards."""
        target = path.replace("{agent_id}", "p-1").replace("{account_id}", "p-1")
        answer = self.server.send("POST", target, body, headers)
        lawful(answer)
        before, self.last = self.last, self.read()
        kept = said(answer).get("stored", 0) if answer.status == 202 else 0
        assert self.last.requests - before.requests == (kept if path == LOG_REQUEST else 0)
        assert self.last.alerts - before.alerts == (kept if path == WEBHOOK else 0)
        assert self.last.activities - before.activities == (kept if path in (ACTIVITY, ACTIVITIES) else 0)
        for signals, paths in SIGNALS.items():
            changed = changes(before.signals[signals], self.last.signals[signals])
            if path not in paths:
                assert changed == {}
            elif answer.status == 202:
                assert changed == said(answer)
            else:
                assert set(changed) <= {"rejected", "refused"}
        return answer

    def export(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """Sends to a receiver of OpenTelemetry's, which answers in that protocol's own words."""
        answer = self.server.send("POST", path, body, headers)
        assert answer.status in (200, 400, 413, 415), answer
        if answer.headers["Content-Type"] == "application/json":
            assert answer.status == 200 or answer.json["message"]
        else:
            (ExportTraceServiceResponse if answer.status == 200 else Status).FromString(answer.body)
        before, self.last = self.last, self.read()
        assert answer.status == 200 or self.last.requests == before.requests
        assert self.last.alerts == before.alerts

    def read(self) -> Books:
        """The books as they are."""
        samples = self.server.metrics()
        ((requests, *of_requests),) = self.server.journal(
            "SELECT count(*), total(tokens_used), total(cost), total(execution_time) FROM requests"
        )
        alerts = self.server.rows("alert_events")
        assert total(samples, "requests_total") == requests
        assert total(samples, "request_duration_seconds_count") == requests
        assert total(samples, "alert_events_total") == alerts
        sums = [total(samples, name) for name in ("tokens_total", "cost_usd_total", "request_duration_seconds_sum")]
        assert sums == pytest.approx(of_requests, rel=1e-9)
        signals = {kind: counted(samples, kind) for kind in SIGNALS}
        assert [signals["request"]["stored"], signals["alert"]["stored"]] == [requests, alerts]
        return Books(requests, alerts, self._activities(samples), signals)

    def _activities(self, samples: dict[str, float]) -> int:
        """How many activities there are; what the accounts did by rows, by state and by series is the same."""
        ((rows, *did),) = self.server.journal(
            "SELECT count(*), total(iif(kind = 'message', number, 0)), total(iif(kind = 'error', number, 0)), "
            "total(iif(kind = 'reply', number * coalesce(reply_time, 0), 0)) FROM activities"
        )
        sums = [total(samples, f"account_{name}_total") for name in ("messages", "errors", "reply_seconds")]
        assert sums == pytest.approx(did, rel=1e-9)
        (state,) = self.server.journal("SELECT total(messages), total(errors), total(reply_seconds) FROM accounts")
        assert list(state) == pytest.approx(did, rel=1e-9)
        assert counted(samples, "activity")["stored"] == rows
        return int(rows)


@pytest.fixture
def audit(server: Server) -> Audit:
    """The books of the shared exporter, as they are when a test begins."""
    return Audit(server)


def total(samples: dict[str, float], name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(value for sample, value in samples.items() if sample.partition("{")[0] == f"fleetpulse_{name}")


def lawful(answer: Answer) -> None:
    """An answer that may be given: a good one, or a problem that names the client's fault or honest overload.

    Behind the exporter there is nobody, which those who ask for it are told.
    """
    if answer.status < 400:
        return
    assert answer.headers.get_content_type() == PROBLEM, answer
    assert answer.json["status"] == answer.status
    if answer.status >= 500:
        assert answer.status == 503, answer
        assert answer.json["type"].endswith((":overloaded", ":upstream")), answer
        assert int(answer.headers["Retry-After"]) >= 1


def changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was counted meanwhile, without zeros."""
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def said(answer: Answer) -> dict[str, int]:
    """What an acknowledgement says became of the items, without zeros."""
    document = answer.json
    counts = {"stored": document["accepted"], "duplicate": document.get("duplicates", 0)}
    counts["rejected"] = len(document.get("rejected", []))
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("path", WRITES)
@MANY
@given(st.data(), st.sampled_from(["object", "array", "lines"]), shapes.compressions)
def test_documents_like_the_contract(
    audit: Audit, path: str, data: st.DataObject, framing: str, compression: tuple[str | None, shapes.Compress]
) -> None:
    items = data.draw(st.lists(shapes.mostly(LIKE[path]), min_size=1, max_size=6))
    encoding, compress = compression
    kind = "application/x-ndjson" if framing == "lines" else "application/json"
    headers = {"Content-Type": kind} | ({"Content-Encoding": encoding} if encoding else {})
    answer = audit.send(path, compress(shapes.framed(items, framing)), headers)
    if answer.status == 202 and path in (LOG_REQUEST, PINGS, ACTIVITY, ACTIVITIES) and framing != "object":
        assert sum(said(answer).values()) == len(items)


@pytest.mark.parametrize("path", WRITES)
@MANY
@given(shapes.anything, shapes.content_types)
def test_documents_unlike_the_contract(audit: Audit, path: str, payload: Any, content_type: str) -> None:
    audit.send(path, shapes.encoded(payload), {"Content-Type": content_type})


@pytest.mark.parametrize("path", WRITES)
@MANY
@given(st.data(), shapes.headers)
def test_damaged_documents_and_any_bytes(
    audit: Audit, path: str, data: st.DataObject, headers: dict[str, str]
) -> None:
    whole = st.lists(LIKE[path], max_size=3).map(shapes.encoded)
    audit.send(path, data.draw(shapes.damaged(whole) | st.binary(max_size=200)), headers)


@pytest.mark.parametrize("path", PRICING)
@MANY
@given(st.data())
def test_any_price_leaves_the_books_agreeing(audit: Audit, path: str, data: st.DataObject) -> None:
    body = data.draw(shapes.mostly(shapes.prices))
    if isinstance(body, dict) and path == PRICING[0]:
        body.pop("source", None)
    elif isinstance(body, dict):
        body = {name: value for name, value in body.items() if not name.endswith(("_usd", "_million"))}
    lawful(audit.server.send("POST", path, shapes.encoded(body), {"Content-Type": "application/json"}))
    lawful(audit.server.send("DELETE", f"{PRICING[0]}?{data.draw(shapes.queries)}"))
    audit.last = audit.read()


@MANY
@given(shapes.mostly(shapes.notices), shapes.mostly(shapes.wishes), shapes.parts)
def test_any_notification_and_wish(server: Server, notice: Any, wish: Any, part: str) -> None:
    lawful(server.give(NOTICES, shapes.encoded(notice)))
    path = WISHES.replace("{user_id}", part or "u")
    lawful(server.send("PUT", path, shapes.encoded(wish), {"Content-Type": "application/json"}))


requests: st.SearchStrategy[Message] = st.one_of(
    st.lists(spans, max_size=3).map(lambda drawn: traces(*drawn)),
    st.lists(records, max_size=3).map(lambda drawn: logs(*drawn)),
)
exported = requests.map(lambda request: request.SerializeToString())
exported_json = requests.map(as_json)


@pytest.mark.parametrize("path", RECEIVERS)
@MANY
@given(
    exported | shapes.damaged(exported) | st.binary(),
    shapes.compressions,
)
def test_any_bytes_for_a_receiver(
    audit: Audit, path: str, body: bytes, compression: tuple[str | None, shapes.Compress]
) -> None:
    encoding, compress = compression
    headers = {"Content-Type": "application/x-protobuf"} | ({"Content-Encoding": encoding} if encoding else {})
    audit.export(path, compress(body), headers)


@pytest.mark.parametrize("path", RECEIVERS)
@MANY
@given(
    exported_json | shapes.damaged(exported_json) | json_like.map(shapes.encoded),
    st.just("application/json") | shapes.content_types,
)
def test_any_json_for_a_receiver(audit: Audit, path: str, body: bytes, content_type: str) -> None:
    audit.export(path, body, {"Content-Type": content_type})


@pytest.mark.parametrize("path", READS)
@FEW
@given(shapes.queries, shapes.headers, shapes.parts)
def test_reading_with_any_query_and_headers(
    server: Server, path: str, query: str, headers: dict[str, str], part: str
) -> None:
    path = path.replace("{pool_id}", part or "x").replace("{request_id}", part or "x")
    path = path.replace("{user_id}", part or "x").replace("{message_id}", part or "x")
    path = path.replace("{replay_id}", part or "x")
    path = path.replace("{kind}", part or "daily")
    target = f"{path.replace('{name}', part or 'docs.css')}?{query}"
    answer = server.send("GET", target, None, headers)
    lawful(answer)
    assert server.send("HEAD", target, None, headers).status == answer.status


@MANY
@given(
    st.sampled_from(["daily", "weekly", "monthly"]) | shapes.parts,
    st.sampled_from(["date", "period", "source", "format", "lang", "x"]) | shapes.parts,
    shapes.moments | shapes.parts | st.sampled_from(["previous", "csv", "zh"]),
    st.binary(max_size=20),
)
def test_reports_of_anything(server: Server, kind: str, name: str, value: str, body: bytes) -> None:
    """Asked for or sent: nobody is behind this exporter, neither Prometheus nor a mail server."""
    path = f"/api/report/{kind or 'daily'}"
    lawful(server.ask(f"{path}?{name}={value}"))
    sent = server.send("POST", f"{path}/send?{name}={value}", body)
    lawful(sent)
    assert sent.status >= 400


@pytest.mark.parametrize("path", DEALT)
@MANY
@given(shapes.parts, st.sampled_from(["seconds", "comment", "x"]) | shapes.parts, shapes.parts)
def test_alerts_of_anything(server: Server, path: str, alert_id: str, name: str, value: str) -> None:
    """Looked at or dealt with: nobody is behind this exporter."""
    answer = server.send("POST", f"{path.replace('{alert_id}', alert_id or 'a_b_1')}?{name}={value}")
    lawful(answer)
    assert answer.status >= 400


@pytest.mark.parametrize("path", ROWS[:2])
@MANY
@given(shapes.searches)
def test_searching_for_anything(server: Server, path: str, search: dict[str, str]) -> None:
    """Whatever is searched for, it is found, not found or refused as wrong input."""
    answer = server.ask(f"{path}?{urlencode(search)}")
    lawful(answer)
    assert answer.status in {200, 422}


@pytest.mark.parametrize("path", MESSAGES)
@FEW
@given(shapes.message_searches)
def test_searching_messages_for_anything(server: Server, path: str, search: dict[str, str]) -> None:
    answer = server.ask(f"{path}?{urlencode(search)}")
    lawful(answer)
    assert answer.status in {200, 422}


@MANY
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
    st.lists(shapes.parts, max_size=5),
    shapes.queries,
    st.binary(max_size=20),
)
def test_any_address(server: Server, method: str, parts: list[str], query: str, body: bytes) -> None:
    lawful(server.send(method, f"/{'/'.join(parts)}?{query}", body))


@MANY
@given(shapes.parts, shapes.heartbeats)
def test_any_agent_and_pool_in_an_address(server: Server, part: str, heartbeat: Any) -> None:
    lawful(server.give(f"/api/v1/agents/{part}/ping", heartbeat))
    lawful(server.ask(f"/api/v1/agent-pools/{part}/agents"))


@MANY
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [
                b"GET / HTTP/1.1\r\n",
                b"POST /metrics HTTP/1.1\r\n",
                b"\r\n",
                b"Content-Length: 5\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Upgrade: h2c\r\n",
                b"Expect: x\r\n",
                b"Host: localhost\r\n",
                b"fffffffff\r\n",
            ]
        ),
        max_size=8,
    )
)
def test_any_bytes_on_the_wire(server: Server, pieces: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        received = exchange(connection, b"".join(pieces))
    assert not received.startswith(b"HTTP/1.1 5"), received
    assert server.ask("/-/healthy").status == 200


requests_of_clients = shapes.document(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "ping", "pong", "auth"])},
    {
        "topic": st.sampled_from(
            ["agents", "agents/web", "agents/*", "requests", "alerts", "requests/x", "chat/1"]
        ),
        "filter": st.dictionaries(shapes.names, shapes.scalars | st.lists(shapes.scalars, max_size=3), max_size=3),
        "resume": shapes.document({"epoch": shapes.texts, "offset": shapes.counts}, {}),
        "id": shapes.ids | shapes.numbers,
        "token": shapes.texts,
    },
)
messages = st.one_of(
    requests_of_clients.map(json.dumps),
    shapes.anything.map(json.dumps),
    st.text(max_size=50),
    st.binary(max_size=50),
)


@FEW
@given(shapes.queries, shapes.headers, shapes.parts)
def test_any_query_for_the_event_stream(server: Server, query: str, headers: dict[str, str], part: str) -> None:
    """Of topics that are none: a stream that is granted has no end to wait for."""
    lawful(server.send("GET", f"{EVENT_STREAM}?topics=none,{part}&{query}", None, headers))
    lawful(
        server.send("GET", f"{EVENT_STREAM}?topics=none", None, headers | {"Last-Event-ID": "a:1;b:" + "9" * 30})
    )


@pytest.mark.parametrize("path", FEEDS)
@FEW
@given(st.lists(messages, max_size=6), shapes.queries, shapes.parts)
def test_any_message_on_a_feed(server: Server, path: str, sent: list[str | bytes], query: str, part: str) -> None:
    """Every message is answered or passed over, and the connection still answers a ping."""
    target = f"{path.replace('{pool_id}', part or 'x')}?{'' if path in CHOOSING else query}"
    with connect(f"ws://127.0.0.1:{server.port}{target}") as feed:
        for message in sent:
            feed.send(message)
        feed.send('{"type": "ping", "id": "the last"}')
        while (heard := json.loads(feed.recv(30))) != heard | {"type": "pong", "id": "the last"}:
            assert heard["type"]


@pytest.mark.parametrize("path", FEEDS)
@FEW
@given(st.binary(max_size=200))
def test_any_bytes_after_the_handshake(server: Server, path: str, sent: bytes) -> None:
    """Broken frames end the connection and nothing else; nothing of HTTP is said once it is a WebSocket."""
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(UPGRADE.format(path=path.replace("{pool_id}", "x")).encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 101 ")
        assert b"HTTP/" not in exchange(connection, sent)
    assert server.ask("/-/healthy").status == 200


def exchange(connection: socket.socket, sent: bytes) -> bytes:
    """What a connection says to these bytes until it is over."""
    received = b""
    try:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            received += piece
    except (ConnectionResetError, BrokenPipeError):
        pass
    return received


@FEW
@given(feeds, shapes.headers)
def test_handshakes_with_any_headers(server: Server, path: str, headers: dict[str, str]) -> None:
    target = f"ws://127.0.0.1:{server.port}{path.replace('{pool_id}', 'x')}"
    headers = {name: value for name, value in headers.items() if name not in ("Host", "Sec-WebSocket-Protocol")}
    try:
        with connect(target, additional_headers=headers, compression=None):
            pass
    except InvalidStatus as refused:
        assert refused.response.status_code in {400, 403}  # noqa: PT017 - being let in is as good


@MANY
@given(shapes.mostly(shapes.orders), shapes.parts)
def test_any_order_for_a_replay(server: Server, order: Any, part: str) -> None:
    """Nothing is recorded here, so that none is started."""
    answer = server.give(REPLAYS, shapes.encoded(order))
    lawful(answer)
    assert answer.status >= 400
    lawful(server.send("DELETE", REPLAY.replace("{replay_id}", part or "x")))
    answer = server.send_bytes(UPGRADE.format(path=PLAYED.replace("{replay_id}", part or "x")).encode(), "GET")
    lawful(answer)
    assert answer.status >= 400


async def test_every_address_is_tried(tmp_path: Path) -> None:
    """An endpoint that is added must be added here too."""
    parts = build(Settings(data_dir=tmp_path))
    parts.core.journal.start(parts.core.pipeline.stored)
    await parts.core.journal.stop()
    posts = (*WRITES, *RECEIVERS, *PRICING, *COMMANDS, *DEALT, MAIL, NOTICES, REPLAYS)
    tried = (
        ("GET", (*READS, *FEEDS, PLAYED, EVENT_STREAM)),
        ("POST", posts),
        ("DELETE", (PRICING[0], REPLAY)),
        ("PUT", (WISHES,)),
    )
    known = {(method, path) for method, paths in tried for path in paths}
    served = {
        (route.method, route.resource.canonical) for route in parts.door.web.router.routes() if route.resource
    }
    assert {(method, path) for method, path in served if method not in ("HEAD", "*")} == known
