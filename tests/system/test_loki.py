"""A real Loki with the committed configuration takes what a real exporter sends, and the panels' queries find it.

Runs where Loki is installed (on PATH, or where the tests look for tools); elsewhere it is skipped, saying why.
"""

import json
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana.builder.logs import errors, recent_requests
from grafana.builder.messages import recent_messages, rule_hits
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from tests.grafana.queries import interpolate
from tests.system.harness import Exporter, Program, clean_environment, free_port, get_json, started, wait_for
from tests.system.speaking import RULE, STREAM, Speaker, recording, speaking
from tests.tools import ROOT, need_tool

LONG_AGO = datetime.now(UTC) - timedelta(days=300)
FOR_ALL = {"source": ".*", "model": ".*", "stream": ".*", "__interval": "60s"}


def log(request_id: str, **fields: Any) -> dict[str, Any]:
    plain = {"source": "web", "status": "success", "execution_time": 0.5, "user_id": "u", "command": "翻译这段话"}
    return {"request_id": request_id, **plain, **fields}


SENT = [
    *(log(f"good-{n}", model="gpt-4o", input_tokens=10, output_tokens=5, cost=0.01) for n in range(60)),
    *(log(f"bad-{n}", status="timeout", error="gave up", source="bot") for n in range(5)),
    *(log(f"old-{n}", timestamp=LONG_AGO.isoformat()) for n in range(5)),
]


SAID = ("早上好", "紧急: 机器人停了")


def configured(folder: Path, port: int) -> Path:
    """The committed configuration with other ports and folders, and without the wait before it is ready."""
    text = (ROOT / "loki" / "loki.yml").read_text().replace("/loki", str(folder / "loki"))
    config = yaml.safe_load(text)
    config["server"] |= {"http_listen_address": "127.0.0.1", "http_listen_port": port}
    config["server"]["grpc_listen_port"] = free_port()
    config["ingester"]["lifecycler"] = {"min_ready_duration": "0s"}
    path = folder / "loki.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    program = need_tool("loki")
    if "loki, version" not in subprocess.run([program, "-version"], capture_output=True, text=True).stdout:  # noqa: PLW1510
        pytest.skip(f"{program} is another program of that name")
    folder, port = tmp_path_factory.mktemp("loki"), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(program), f"-config.file={configured(folder, port)}"]
    running = Program("Loki", command, f"{url}/ready", folder / "loki.log", clean_environment())
    for _ in started(running):
        yield url


@pytest.fixture(scope="module")
def fed(loki: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Loki's address, once it has everything that was sent."""
    endpoint = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{loki}/otlp/v1/logs", "OTEL_BLRP_SCHEDULE_DELAY": "50"}
    with speaking() as speaker:
        for exporter in started(Exporter(tmp_path_factory.mktemp("exporter"), **endpoint, **recording(speaker))):
            send(exporter)
            speak(exporter, speaker)
            yield loki


def send(exporter: Exporter) -> None:
    status, answer = exporter.post("/api/log-request", SENT)
    assert (status, answer["accepted"]) == (202, len(SENT))
    sent = 'fleetpulse_otlp_logs_sent_total{kind="request"}'
    wait_for(lambda: exporter.metrics()[sent] == len(SENT), what="everything is sent")
    assert sum(value for name, value in exporter.metrics().items() if "otlp_logs_lost" in name) == 0


def speak(exporter: Exporter, speaker: Speaker) -> None:
    wait_for(lambda: speaker.heard, what="the stream is listened to")
    for text in SAID:
        speaker.say("ann", text)
    sent = 'fleetpulse_otlp_logs_sent_total{kind="message"}'
    wait_for(lambda: exporter.metrics()[sent] == len(SAID), what="every message is sent")


def ask(loki: str, query: str, limit: int = 1_000) -> list[dict[str, Any]]:
    """A range query over the last hour; log lines newest first."""
    now = time.time()
    parameters = {"query": query, "limit": limit, "start": now - 3_600, "end": now + 60, "step": 60}
    address = f"{loki}/loki/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    result: list[dict[str, Any]] = get_json(address)["data"]["result"]
    return result


def lines(result: list[dict[str, Any]]) -> list[str]:
    return [line for stream in result for _, line in stream["values"]]


def of_panel(panel: Any, **chosen: str) -> str:
    (target,) = json.loads(json.dumps(panel, cls=JSONEncoder))["targets"]
    return interpolate(target["expr"], FOR_ALL | chosen)


def test_every_request_is_there_whole_however_old(fed: str) -> None:
    found = [
        json.loads(line)
        for line in lines(ask(fed, '{service_name="fleetpulse"} | event_name="fleetpulse.request"'))
    ]
    assert {row["request_id"] for row in found} == {row["request_id"] for row in SENT}
    assert len(found) == len(SENT)
    old = next(row for row in found if row["request_id"] == "old-0")
    assert datetime.fromisoformat(old["timestamp"]).date() == LONG_AGO.date()


def test_the_labels_are_few(fed: str) -> None:
    assert set(get_json(f"{fed}/loki/api/v1/labels")["data"]) == {"service_name", "service_instance_id"}


def test_the_table_of_requests(fed: str) -> None:
    assert len(lines(ask(fed, of_panel(recent_requests()), limit=50))) == 50
    chosen = lines(ask(fed, of_panel(recent_requests(), source="web|none", model="gpt-4o")))
    assert {json.loads(line)["model"] for line in chosen} == {"gpt-4o"}
    assert len(chosen) == 60
    nameless = lines(ask(fed, of_panel(recent_requests(), model="none")))
    assert {json.loads(line)["request_id"].partition("-")[0] for line in nameless} == {"bad", "old"}


def test_the_table_of_messages(fed: str) -> None:
    found = [json.loads(line) for line in lines(ask(fed, of_panel(recent_messages())))]
    assert sorted(each["text"] for each in found) == sorted(SAID)
    assert ask(fed, of_panel(recent_messages(), stream="another")) == []
    assert lines(ask(fed, of_panel(rule_hits()))) == [f"{STREAM} ann: 紧急: 机器人停了 ({RULE})"]


def test_the_failures(fed: str) -> None:
    over_time, listed = errors()
    counts = ask(fed, of_panel(over_time))
    assert [series["metric"] for series in counts] == [{"fleetpulse_status": "timeout"}]
    assert sum(float(value) for _, value in counts[0]["values"]) == 5
    assert lines(ask(fed, of_panel(listed))) == ["bot timeout after 0.5 s: 翻译这段话 (gave up)"] * 5
    assert ask(fed, of_panel(listed, source="web")) == []
