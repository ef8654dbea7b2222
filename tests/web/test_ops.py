"""What operators and machines look at: /metrics in its formats, health, the landing page, 404 and 405."""

import gzip
import subprocess
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.tools import need_tool
from tests.web.server import LOG_REQUEST, PINGS, Server, heartbeat, new_id, request_log

OPENMETRICS = "application/openmetrics-text"
# As Prometheus 2.42 and 3.x ask.
PROMETHEUS_2 = (
    f"{OPENMETRICS};version=1.0.0,{OPENMETRICS};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = f"{OPENMETRICS};version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,*/*;q=0.1"
AWKWARD = 'so"ur\\ce 源🔑'


@pytest.fixture(autouse=True)
def fed(server: Server) -> None:
    """Something to show, with names as awkward as they may be."""
    long = request_log(request_id=new_id("x" * 160), trace_id=new_id("t" * 100))
    logs = [request_log(source=AWKWARD, model='m"\\'), long, request_log(cost=1e-9)]
    assert server.give(LOG_REQUEST, logs).json["accepted"] == 3
    assert server.give(PINGS, heartbeat(agent_id=AWKWARD, pool_id=AWKWARD)).json["accepted"] == 1


def families(server: Server, accept: str) -> dict[str, Any]:
    answer = server.ask("/metrics", Accept=accept)
    assert answer.status == 200
    parse = parse_openmetrics if answer.headers["Content-Type"].startswith(OPENMETRICS) else parse_text
    return {family.name: family for family in parse(answer.body.decode())}


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", PROMETHEUS_2, PROMETHEUS_3])
def test_each_format_reads_the_same(server: Server, accept: str) -> None:
    found = families(server, accept)
    requests = {
        tuple(sample.labels.values()): sample.value
        for sample in found["fleetpulse_requests"].samples
        if sample.name.endswith("_total")
    }
    assert requests[AWKWARD, 'm"\\', "success"] >= 1
    assert sum(requests.values()) == server.rows()
    (up,) = (sample for sample in found["fleetpulse_agent_up"].samples if sample.labels["agent_id"] == AWKWARD)
    assert (up.labels["pool_id"], up.value) == (AWKWARD, 1)


def test_openmetrics_has_exemplars_that_name_the_request(server: Server) -> None:
    samples = families(server, PROMETHEUS_2)["fleetpulse_request_duration_seconds"].samples
    exemplars = [sample.exemplar for sample in samples if sample.exemplar]
    assert any("request_id" in exemplar.labels for exemplar in exemplars)
    for exemplar in exemplars:
        assert sum(len(name) + len(value) for name, value in exemplar.labels.items()) <= 128


@pytest.mark.parametrize(
    "accept",
    [
        f"{OPENMETRICS}; version=abc",
        f"{OPENMETRICS};version=",
        f"{OPENMETRICS};version=1.x;escaping=?",
        "text/plain; version=x.y",
        ";;;,,,=",
        "\u00ff",
    ],
)
def test_an_odd_accept_is_answered_all_the_same(server: Server, accept: str) -> None:
    assert "fleetpulse_requests" in families(server, accept)


def test_metrics_are_compressed_for_who_takes_it(server: Server) -> None:
    answer = server.ask("/metrics", Accept_Encoding="deflate, gzip;q=1.0")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert b"fleetpulse_requests_total" in gzip.decompress(answer.body)
    assert "Content-Encoding" not in server.ask("/metrics", Accept_Encoding="br").headers
    assert "Content-Encoding" not in server.ask("/metrics").headers


def test_promtool_finds_nothing_to_complain_about(server: Server) -> None:
    promtool = need_tool("promtool")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=server.ask("/metrics").body, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_health_says_what_is_so(server: Server) -> None:
    document = server.ask("/health").json
    assert document["status"] == "ok"
    assert document["ready"] is True
    assert document["version"]
    assert document["uptime_seconds"] > 0
    assert document["journal"]["writable"] is True
    assert document["journal"]["bytes"] > 0
    for path in ("/-/healthy", "/-/ready"):
        answer = server.ask(path)
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain")


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/api/log-request/", "/api/v1/agents//ping", "//", "/%00", "/%ff", "/" + "x" * 4_000],
)
def test_an_unknown_address_is_404(server: Server, target: str) -> None:
    server.send("GET", target).problem(404, "not-found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", LOG_REQUEST, {"POST"}),
        ("PUT", PINGS, {"POST"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("POST", "/api/v1/agent-pools", {"GET", "HEAD"}),
        ("OPTIONS", "/health", {"GET", "HEAD"}),
        ("PATCH", "/", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_is_not_taken_is_405(server: Server, method: str, target: str, allowed: set[str]) -> None:
    answer = server.send(method, target, b"")
    answer.problem(405, "method-not-allowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == allowed


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /\xd0\xbc HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/log-request HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400(server: Server, request_bytes: bytes) -> None:
    assert server.send_bytes(request_bytes).status == 400
    assert server.ask("/-/ready").status == 200


def test_head_is_get_without_a_body(server: Server) -> None:
    for path in ("/", "/metrics", "/health", "/-/healthy", "/-/ready", "/api/v1/agent-pools"):
        answer = server.send("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
