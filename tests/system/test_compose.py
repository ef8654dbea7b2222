"""docker-compose.yml for real: it comes up healthy, its Prometheus finds what is sent, its alert comes back live.

Runs where a Docker daemon answers and every image is here or can be pulled; elsewhere it is skipped, saying why.
The project gets a name, ports and an image tag of its own, and is taken down with its volumes.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
BUILD_SECONDS = 900
HEALTHY_SECONDS = 300
SEEN_SECONDS = 120
PORTS = {
    "exporter": "FLEETPULSE_PORT",
    "prometheus": "FLEETPULSE_STACK__PROMETHEUS_PORT",
    "alertmanager": "FLEETPULSE_STACK__ALERTMANAGER_PORT",
    "loki": "FLEETPULSE_STACK__LOKI_PORT",
    "grafana": "FLEETPULSE_STACK__GRAFANA_PORT",
}


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def compose_command() -> list[str]:
    """`docker compose` where it is installed, else `docker-compose`; skips the test where neither is."""
    if docker("compose", "version").returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor docker-compose is installed")


def need_daemon() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    answer = docker("info")
    if answer.returncode != 0:
        pytest.skip(f"no Docker daemon answers: {(answer.stderr or answer.stdout).strip().splitlines()[-1]}")


def need_images() -> None:
    services = yaml.safe_load(FILE.read_text("utf-8"))["services"].values()
    images = {service["image"] for service in services if "build" not in service}
    images |= set(re.findall(r"^FROM (\S+)", (ROOT / "exporter/Dockerfile").read_text("utf-8"), re.MULTILINE))
    for image in sorted(images):
        here = docker("image", "inspect", image).returncode == 0
        if not here and docker("pull", "--quiet", image).returncode != 0:
            pytest.skip(f"the image {image} is not here and cannot be pulled")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Project:
    """One running copy of the stack."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)

    def run(self, *arguments: str, check: bool = True, seconds: float = BUILD_SECONDS) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0 or not check, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def url(self, service: str, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.environment[PORTS[service]]}{path}"

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.run("ps", "-q", service).strip()
        described: dict[str, Any] = json.loads(docker("inspect", container).stdout)[0]
        return described

    def health(self, service: str) -> str:
        state: str = self.inspect(service)["State"]["Health"]["Status"]
        return state

    def call(self, service: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url(service, path), data, {"Content-Type": "application/json"})  # noqa: S310 - loopback
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())

    def value(self, query: str) -> float | None:
        """What an instant query of one series answers, or None while there is no such series."""
        found = self.call("prometheus", "/api/v1/query?" + urlencode({"query": query}))["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def metrics(self, start: str) -> float:
        """The sum of the exporter's own samples whose line starts so."""
        with urlopen(self.url("exporter", "/metrics"), timeout=30) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits; past the deadline fails with the end of every service's log."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {seconds} s\n{self.run('logs', '--tail', '40')}")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    need_daemon()
    command = compose_command()
    need_images()
    no_variables = tmp_path_factory.mktemp("compose") / "env"  # in place of the checkout's own `.env`
    no_variables.touch()
    name = f"fleetpulse-test-{uuid.uuid4().hex[:8]}"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("FLEETPULSE_", "GRAFANA_", "OTEL_"))
    }
    environment |= {variable: str(free_port()) for variable in PORTS.values()} | {"FLEETPULSE_IMAGE": name}
    options = ["--file", str(FILE), "--env-file", str(no_variables), "--project-name", name]
    made = Project([*command, *options], environment)
    try:
        made.run("up", "--detach", "--build")
        yield made
    finally:
        made.run("down", "--volumes", "--remove-orphans", "--timeout", "20", check=False)
        docker("image", "rm", "--force", name)


@pytest.mark.parametrize("service", PORTS)
def test_each_service_becomes_healthy(project: Project, service: str) -> None:
    project.until(f"{service} is healthy", lambda: project.health(service) == "healthy", HEALTHY_SECONDS)


@pytest.mark.parametrize("service", PORTS)
def test_nothing_runs_as_root_or_listens_beyond_loopback(project: Project, service: str) -> None:
    described = project.inspect(service)
    assert described["Config"]["User"].split(":")[0] not in ("", "0", "root")
    bound = [entry for entries in described["NetworkSettings"]["Ports"].values() for entry in entries or ()]
    assert {entry["HostIp"] for entry in bound} == {"127.0.0.1"}


def test_a_heartbeat_and_request_logs_are_found_in_prometheus(project: Project) -> None:
    beat = {
        "status": "online",
        "cpu_usage": 12.5,
        "memory_usage": 40,
        "running_tasks": [{"task_id": 7, "task_type": "build", "workspace_id": "w", "started_at": now()}],
        "pool_id": "compose",
    }
    project.call("exporter", "/api/v1/agents/agent-1/ping", beat)
    answer = project.call("exporter", "/api/log-request", [log(f"found-{n}", "found", 0.25) for n in range(4)])
    assert answer["accepted"] == 4
    agent = 'fleetpulse_agent_cpu_usage_ratio{pool_id="compose",agent_id="agent-1"}'
    project.until("the heartbeat", lambda: project.value(agent) == 0.125, SEEN_SECONDS)
    requests = 'sum(fleetpulse_requests_total{source="found"})'
    project.until("the requests", lambda: project.value(requests) == 4, SEEN_SECONDS)
    assert project.value('sum(fleetpulse_cost_usd_total{source="found"})') == 1.0


def test_request_logs_reach_loki(project: Project) -> None:
    project.call("exporter", "/api/log-request", [log(f"handed-on-{n}", "handed-on", 0.0) for n in range(3)])
    sent, lost = "fleetpulse_otlp_logs_sent_total", "fleetpulse_otlp_logs_lost_total"
    waiting = "fleetpulse_otlp_logs_backlog_rows"
    project.until("all is sent", lambda: project.metrics(sent) >= 3 and not project.metrics(waiting), SEEN_SECONDS)
    assert project.metrics(lost) == 0
    query = urlencode({"query": '{service_name="fleetpulse"} | fleetpulse_source="handed-on"', "since": "1h"})
    found = project.call("loki", f"/loki/api/v1/query_range?{query}")
    if "data" not in found:
        pytest.skip("what answers as Loki here is a stand-in: it took the records, and keeps nothing")
    assert sum(len(stream["values"]) for stream in found["data"]["result"]) == 3


def test_the_budget_alert_comes_back_on_the_live_feed(project: Project) -> None:
    feed = project.url("exporter", "/api/v1/group-ai/monitor/ws/alerts", "ws")
    with connect(feed) as socket:
        project.call("exporter", "/api/log-request", log("expensive", "budget", 12.0))
        alert = budget_alert(project, socket)
    assert alert["alert_type"] == "cost"
    assert alert["resolved"] is False
    assert "daily" in alert["summary"]


def test_a_restart_forgets_nothing_and_the_exporter_stops_cleanly(project: Project) -> None:
    project.call("exporter", "/api/log-request", [log(f"kept-{n}", "kept", 0.0) for n in range(3)])
    before = project.metrics("fleetpulse_requests_total{")
    project.run("stop", "exporter")
    stopped = json.loads(docker("inspect", exporter_of(project)).stdout)[0]
    assert stopped["State"]["ExitCode"] == 0
    project.run("start", "exporter")
    project.until("the exporter is back", lambda: project.health("exporter") == "healthy", HEALTHY_SECONDS)
    again = project.call("exporter", "/api/log-request", log("kept-0", "kept", 0.0))
    assert again["duplicates"] == 1
    assert project.metrics("fleetpulse_requests_total{") == before >= 3


def budget_alert(project: Project, socket: ClientConnection) -> dict[str, Any]:
    """The next alert that says the whole budget is spent."""
    deadline = time.monotonic() + SEEN_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            message = json.loads(socket.recv(timeout=left))
        except TimeoutError:
            break
        if message["type"] == "alert" and message["alert"].get("alertname") == "BudgetAt100Percent":
            alert: dict[str, Any] = message["alert"]
            return alert
    pytest.fail(f"no alert came within {SEEN_SECONDS} s\n{project.run('logs', '--tail', '60')}")


def exporter_of(project: Project) -> str:
    """The exporter's container, stopped or not, by its labels."""
    name = project.command[project.command.index("--project-name") + 1]
    filters = [f"label=com.docker.compose.project={name}", "label=com.docker.compose.service=exporter"]
    return docker("ps", "--all", "--quiet", "--filter", filters[0], "--filter", filters[1]).stdout.strip()


def log(request_id: str, source: str, cost: float) -> dict[str, Any]:
    return {
        "request_id": request_id,
        "source": source,
        "user_id": "u",
        "command": "say hello",
        "status": "success",
        "execution_time": 0.5,
        "tokens_used": 10,
        "cost": cost,
    }


def now() -> str:
    return datetime.now(UTC).isoformat()
