"""OpenTelemetry out, from outside: rows reach a collector through crashes of both, and standard variables work."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.sinks.collector import Collector, Reply, plain
from tests.system.harness import Exporter, clean_environment, get, wait_for
from tests.system.sending import Batches, Load, journal
from tests.system.speaking import RULE, STREAM, recording, speaking
from websockets.sync.client import connect

KILLS = 6
FAST = {"OTEL_BLRP_SCHEDULE_DELAY": "20", "OTEL_BSP_SCHEDULE_DELAY": "20"}
SENT = 'fleetpulse_otlp_logs_sent_total{kind="%s"}'
LOST = 'fleetpulse_otlp_logs_lost_total{kind="%s",reason="%s"}'
BACKLOG = 'fleetpulse_otlp_logs_backlog_rows{kind="%s"}'
RETRIES = 'fleetpulse_otlp_logs_retries_total{reason="%s"}'
SECRET = "s3cret-of-the-collector"  # noqa: S105 - it must not be found
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

Run = Callable[..., Exporter]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """It listens."""
    made = Collector().start()
    yield made
    made.stop()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts exporters with standard variables; they are stopped in the end."""
    with ExitStack() as stack:

        def start(name: str = "exporter", **variables: str) -> Exporter:
            exporter = Exporter(tmp_path / name, **{**FAST, **variables})
            stack.callback(exporter.stop)
            exporter.start()
            return exporter

        yield start


def log(request_id: str, **fields: Any) -> dict[str, Any]:
    plain_log = {"request_id": request_id, "source": "web", "status": "success", "execution_time": 0.5}
    return {**plain_log, **fields}


def send(exporter: Exporter, *logs: dict[str, Any]) -> None:
    status, answer = exporter.post("/api/log-request", list(logs))
    assert (status, answer["accepted"]) == (202, len(logs))


def books(exporter: Exporter, kind: str = "request") -> tuple[float, float, float]:
    """Sent, lost and waiting."""
    samples = exporter.metrics()
    lost = sum(samples[LOST % (kind, reason)] for reason in ("rejected", "too_large", "deleted"))
    return samples[SENT % kind], lost, samples[BACKLOG % kind]


def test_kill_and_outages_lose_nothing(run: Run, collector: Collector, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest when the test fails
    rng = random.Random(seed)
    exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE="64")
    load = Load(exporter.port, Batches(rng, "out", 50))
    for _ in range(KILLS):
        load.start()
        time.sleep(rng.uniform(0.1, 0.8))
        collector.next = [rng.choice((Reply(503), Reply(429), Reply(hangs_up=True), Reply(502)))]
        if rng.random() < 0.5:
            collector.stop()
            time.sleep(rng.uniform(0, 0.5))
            collector.start()
        exporter.kill()
        load.stop()
        exporter.start()
    load.settle()
    assert load.broken == []
    rows = load.batches.made * 50
    wait_for(lambda: books(exporter) == (rows, 0, 0), what=f"{rows} rows sent; {books(exporter)}")
    stored = {row[0] for row in journal(exporter.data_dir, "SELECT request_id FROM requests", tmp_path)}
    assert set(collector.ids()) == stored
    assert len(stored) == rows
    assert len({call.resource["service.instance.id"] for call in collector.calls}) == 1, "it stays the same"


def test_rows_of_an_outage_arrive_after_it_and_the_counts_survive_both(run: Run, collector: Collector) -> None:
    exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url)
    send(exporter, *(log(f"before-{n}") for n in range(10)))
    wait_for(lambda: books(exporter) == (10, 0, 0))
    collector.always = Reply(400, body=b"not like this")
    send(exporter, log("unwanted"))
    wait_for(lambda: books(exporter) == (10, 1, 0))
    collector.stop()
    send(exporter, *(log(f"during-{n}") for n in range(10)))
    wait_for(lambda: exporter.metrics()[RETRIES % "unreachable"] >= 1)
    assert books(exporter) == (10, 1, 10)
    exporter.kill()
    exporter.start()
    assert books(exporter) == (10, 1, 10)
    collector.always = Reply()
    collector.start()
    wait_for(lambda: books(exporter) == (20, 1, 0))
    assert collector.ids() == {f"{when}-{n}": 1 for when in ("before", "during") for n in range(10)}


def test_a_collector_that_hangs_delays_neither_ingest_nor_the_stop(run: Run, collector: Collector) -> None:
    collector.open.clear()
    exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="600000")
    for n in range(20):
        send(exporter, *(log(f"r-{n}-{each}") for each in range(100)))
    assert books(exporter) == (0, 0, 2_000)
    assert exporter.terminate() == 0
    collector.open.set()
    exporter.start()
    wait_for(lambda: books(exporter) == (2_000, 0, 0))


def test_alerts_are_sent_too(run: Run, collector: Collector) -> None:
    exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url)
    alert = {
        "status": "firing",
        "fingerprint": "f1",
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "labels": {"alertname": "BudgetAt100Percent", "severity": "critical"},
        "annotations": {"summary": "the budget is spent"},
        "generatorURL": "http://prometheus/graph",
    }
    webhook = {"version": "4", "status": "firing", "receiver": "fleetpulse", "alerts": [alert]}
    status, _ = exporter.post("/api/v1/alerts/webhook", webhook)
    assert status < 300
    wait_for(lambda: books(exporter, "alert") == (1, 0, 0))
    (record,) = collector.taken()
    assert (record.event_name, record.severity_text) == ("fleetpulse.alert", "ERROR")
    assert json.loads(record.body.string_value)["summary"] == "the budget is spent"


def test_recorded_messages_are_sent_and_what_people_chat_is_not(run: Run, collector: Collector) -> None:
    with speaking() as speaker:
        exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url, **recording(speaker))
        wait_for(lambda: speaker.heard)
        with connect(f"{exporter.url.replace('http', 'ws', 1)}/ws/chat?user_id=ann") as ann:
            for type_, rest in (("join_session", {}), ("send_message", {"content": "between us"})):
                ann.send(json.dumps({"type": type_, "session_id": "s1", **rest}))
            own = 'fleetpulse_chat_messages_total{stream="chat",kind="text"}'
            wait_for(lambda: exporter.metrics().get(own) == 1, what="the own message is stored")
        speaker.say("ann", "紧急: 机器人停了")
        wait_for(lambda: books(exporter, "message") == (1, 0, 0), what="the message is sent")
        exporter.kill()
        exporter.start()
        wait_for(lambda: speaker.heard)
        speaker.say("ben", "我来看看")
        wait_for(lambda: books(exporter, "message") == (2, 0, 0), what="the next is sent")
    bodies = {each["message_id"]: each for each in (json.loads(r.body.string_value) for r in collector.taken())}
    assert [(each["user_id"], each["text"], each.get("rules")) for each in bodies.values()] == [
        ("ann", "紧急: 机器人停了", [RULE]),
        ("ben", "我来看看", None),
    ]
    assert {each["stream"] for each in bodies.values()} == {STREAM}
    assert all("raw" not in each for each in bodies.values())


def test_an_exporter_that_gets_what_another_sends_stores_none_of_it(run: Run) -> None:
    receiver = run("receiver")
    sender = run("sender", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    send(sender, *(log(f"r-{n}", model="gpt-4o", input_tokens=5) for n in range(5)))
    wait_for(lambda: books(sender) == (5, 0, 0))
    wait_for(lambda: sender.metrics()['fleetpulse_otlp_spans_total{outcome="sent"}'] >= 1)
    assert receiver.get("/api/v1/agent-pools") is not None
    assert receiver.metrics().get('fleetpulse_ingest_signals_total{kind="request",outcome="stored"}', 0) == 0


# Standard variables -------------------------------------------------------------------------------------------
def test_without_an_endpoint_nothing_is_sent_or_shown(run: Run) -> None:
    exporter = run(OTEL_SERVICE_NAME="x", OTEL_EXPORTER_OTLP_HEADERS="a=b")
    send(exporter, log("r"))
    assert [name for name in exporter.metrics() if name.startswith("fleetpulse_otlp_logs")] == []


@pytest.mark.parametrize("off", [{"OTEL_LOGS_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_it_can_be_turned_off(run: Run, collector: Collector, off: dict[str, str]) -> None:
    exporter = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url, **off)
    send(exporter, log("r"))
    assert [name for name in exporter.metrics() if name.startswith("fleetpulse_otlp_logs")] == []


def test_who_sends_and_with_what(run: Run, collector: Collector) -> None:
    exporter = run(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.base,
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET}",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="bots",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        FLEETPULSE_LOG_LEVEL="debug",
    )
    collector.next = [Reply(401), Reply(503)]
    send(exporter, log("r"))
    wait_for(lambda: books(exporter) == (1, 0, 0))
    wait_for(collector.spans)
    for path in ("/v1/logs", "/v1/traces"):
        call = next(call for call in collector.calls if call.path == path)
        headers = {name.lower(): value for name, value in call.headers.items()}
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert headers["content-encoding"] == "gzip"
        assert call.resource["service.name"] == "bots"
        assert call.resource["deployment.environment.name"] == "test"
        assert call.resource["service.version"]
    assert exporter.terminate() == 0
    assert "takes no records" in exporter.output()
    assert SECRET not in exporter.output()


def test_begin_with_the_oldest_row(run: Run, collector: Collector) -> None:
    exporter = run()
    send(exporter, log("r1"), log("r2"))
    exporter.terminate()
    again = run(OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url, FLEETPULSE_OTLP_OUT__BEGIN="oldest")
    wait_for(lambda: books(again) == (2, 0, 0))
    assert collector.ids() == {"r1": 1, "r2": 1}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_LOGS_HEADERS": SECRET}, "OTEL_EXPORTER_OTLP_LOGS_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_BSP"),
    ],
)
def test_variables_that_cannot_work_stop_the_start(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    environment = clean_environment(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", FLEETPULSE_DATA_DIR=str(tmp_path), FLEETPULSE_PORT="0"
    )
    command = [sys.executable, "-m", "fleetpulse", "serve"]
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr


# The exporter's own spans -------------------------------------------------------------------------------------
def test_each_request_has_a_span_below_its_callers(run: Run, collector: Collector) -> None:
    exporter = run(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.base}/v1/traces")
    get(f"{exporter.url}/api/v1/agent-pools", {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    exporter.post("/api/log-request?token=secret", "no log")
    wait_for(lambda: len(collector.spans()) == 2)
    good, bad = collector.spans()
    assert (good.name, good.kind) == ("GET /api/v1/agent-pools", good.SPAN_KIND_SERVER)
    assert (good.trace_id.hex(), good.parent_span_id.hex()) == (TRACE, PARENT)
    said = plain(good.attributes)
    assert said["http.request.method"] == "GET"
    assert said["http.route"] == said["url.path"] == "/api/v1/agent-pools"
    assert said["http.response.status_code"] == 200
    assert "secret" not in str(bad)
    assert (bad.name, plain(bad.attributes)["http.response.status_code"]) == ("POST /api/log-request", 422)
    assert bad.status.code == bad.status.STATUS_CODE_UNSET, "the caller's mistake is no failure of ours"
    assert not bad.parent_span_id


def test_scrapes_checks_and_otlp_calls_have_none(run: Run, collector: Collector) -> None:
    exporter = run(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.base}/v1/traces")
    for path in ("/metrics", "/health", "/-/ready", "/-/healthy"):
        get(exporter.url + path)
    exporter.post("/v1/logs", {"resourceLogs": []})
    assert exporter.post("/no/such/address", {})[0] == 404
    wait_for(collector.spans)
    assert [span.name for span in collector.spans()] == ["POST"]
    samples = exporter.metrics()
    assert samples['fleetpulse_otlp_spans_total{outcome="recorded"}'] == 1
    assert samples['fleetpulse_otlp_spans_total{outcome="sent"}'] == 1


def test_a_sampler_decides(run: Run, collector: Collector) -> None:
    exporter = run(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.base}/v1/traces",
        OTEL_TRACES_SAMPLER="parentbased_always_off",
    )
    get(f"{exporter.url}/api/v1/agent-pools")
    get(f"{exporter.url}/api/v1/agent-pools", {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    wait_for(collector.spans)
    assert [span.trace_id.hex() for span in collector.spans()] == [TRACE]


def test_spans_that_wait_are_sent_at_the_end(run: Run, collector: Collector) -> None:
    exporter = run(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.base}/v1/traces", OTEL_BSP_SCHEDULE_DELAY="3600000"
    )
    get(f"{exporter.url}/api/v1/agent-pools")
    assert exporter.terminate() == 0
    assert len(collector.spans()) == 1
