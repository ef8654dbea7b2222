"""`fleetpulse up` from the checkout, as a person would run it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from tests.system.harness import Program, clean_environment, free_port, get, get_json, post, wait_for
from tests.tools import need_tool

LOG = {"source": "web", "status": "success", "execution_time": 0.4, "model": "gpt-4o", "input_tokens": 7}


class Up(Program):
    """`fleetpulse up` on free ports."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.exporter, self.prometheus, self.alertmanager, self.grafana = (free_port() for _ in range(4))
        self.url = f"http://127.0.0.1:{self.exporter}"
        self.data_dir = folder / "data"
        own = {
            "FLEETPULSE_PORT": str(self.exporter),
            "FLEETPULSE_DATA_DIR": str(self.data_dir),
            "FLEETPULSE_STACK__PROMETHEUS_PORT": str(self.prometheus),
            "FLEETPULSE_STACK__ALERTMANAGER_PORT": str(self.alertmanager),
            "FLEETPULSE_STACK__GRAFANA_PORT": str(self.grafana),
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "fleetpulse", "up"]
        super().__init__("fleetpulse up", command, self.url, folder / "up.log", clean_environment(**own | settings))

    def wait_up(self) -> None:
        """Waits for the table."""
        wait_for(lambda: "Try next" in self.output() or self.process.poll() is not None, what="the table")
        assert self.process.poll() is None, self.output()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query."""
        where = urllib.parse.urlencode({"query": expression})
        result: list[dict[str, Any]] = get_json(f"http://127.0.0.1:{self.prometheus}/api/v1/query?{where}")["data"][
            "result"
        ]
        return result


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    need_tool("prometheus")
    need_tool("alertmanager")
    program = Up(tmp_path)
    yield program
    program.stop()


def test_a_signal_reaches_prometheus_and_ctrl_c_stops_everything(up: Up) -> None:
    up.start(wait=False)
    up.wait_up()
    children = psutil.Process(up.pid).children(recursive=True)
    assert {"prometheus", "prometheus-alertmanager", "alertmanager"} & {child.name() for child in children}
    table = up.output()
    for address in (up.url, f"http://127.0.0.1:{up.prometheus}", f"http://127.0.0.1:{up.alertmanager}"):
        assert address in table
    assert f"fleetpulse demo --url {up.url}" in table

    beat = {"status": "busy", "cpu_usage": 45.5, "memory_usage": 62.3, "running_tasks": []}
    assert post(f"{up.url}/api/v1/agents/a1/ping", beat)[0] == 202
    assert post(f"{up.url}/api/log-request", LOG | {"request_id": "r1"})[1]["accepted"] == 1
    wait_for(lambda: up.query('fleetpulse_requests_total{source="web"} == 1'), what="the request in Prometheus")
    wait_for(lambda: up.query('fleetpulse_agent_cpu_usage_ratio{agent_id="a1"} == 0.455'), what="the heartbeat")

    assert up.end(signal.SIGINT) == 0, up.output()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert len(gone) == 3
    assert "All stopped." in up.output()


def test_prometheus_tells_alertmanager_and_alertmanager_tells_the_exporter(up: Up) -> None:
    up.start(wait=False)
    up.wait_up()
    known = f"http://127.0.0.1:{up.prometheus}/api/v1/alertmanagers"
    wait_for(lambda: get_json(known)["data"]["activeAlertmanagers"], what="Prometheus knowing Alertmanager")
    alert = {"labels": {"alertname": "Trial", "severity": "critical"}, "annotations": {"summary": "a trial"}}
    where = f"http://127.0.0.1:{up.alertmanager}/api/v2/alerts"
    with urlopen(Request(where, json.dumps([alert]).encode(), {"Content-Type": "application/json"})):
        pass
    counted = 'fleetpulse_alert_events_total{alertname="Trial",status="firing"} 1.0'
    wait_for(lambda: counted in get(f"{up.url}/metrics"), what="the alert in the exporter")


def test_scraping_goes_on_when_credentials_come_into_use(up: Up) -> None:
    """The first app key switches credentials on in a running exporter; Prometheus gets one of its own."""
    up.start(wait=False)
    up.wait_up()
    wait_for(lambda: up.query('up{job="fleetpulse"} == 1'), what="a first scrape")
    command = [sys.executable, "-m", "fleetpulse", "token", "key", "--name", "bot"]
    environment = clean_environment(FLEETPULSE_DATA_DIR=str(up.data_dir))
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    wait_for(lambda: _status(f"{up.url}/metrics") == 401, what="the exporter asking for credentials")
    key, secret = re.findall(r"X-App-(?:Key|Secret): (\S+)", made.stdout)
    beat = {"status": "idle", "cpu_usage": 1, "memory_usage": 2}
    headers = {"X-App-Key": key, "X-App-Secret": secret}
    assert post(f"{up.url}/api/v1/agents/late/ping", beat, headers)[0] == 202
    wait_for(lambda: up.query('fleetpulse_agent_up{agent_id="late"}'), what="a scrape with credentials")


def _status(url: str) -> int:
    try:
        get(url)
    except HTTPError as error:
        with error:
            return error.code
    return 200


GRAFANA = """#!{python}
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())
address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
http.server.HTTPServer(address, Handler).serve_forever()
"""


def test_grafana_is_started_where_it_is_installed(tmp_path: Path) -> None:
    """A stand-in on PATH, as Grafana itself is rarely where tests run: is it started, asked for health, stopped?"""
    program = tmp_path / "bin" / "grafana-server"
    program.parent.mkdir()
    program.write_text(GRAFANA.format(python=sys.executable))
    program.chmod(0o755)
    up = Up(tmp_path, PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    need_tool("prometheus")
    try:
        up.start(wait=False)
        up.wait_up()
        environment = get_json(f"http://127.0.0.1:{up.grafana}/api/health")
        assert environment["FLEETPULSE_PROMETHEUS_URL"] == f"http://127.0.0.1:{up.prometheus}"
        assert list(Path(environment["FLEETPULSE_DASHBOARDS"]).glob("*.json"))
        assert f"http://127.0.0.1:{up.grafana}" in up.output()
        assert "not installed" not in up.output()
        children = psutil.Process(up.pid).children(recursive=True)
        assert len(children) == 4
        assert up.end(signal.SIGTERM) == 0
        assert not psutil.wait_procs(children, timeout=10)[1]
    finally:
        up.stop()


def test_a_taken_port_is_reported_by_service_owner_and_setting(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.prometheus)):
        up.start(wait=False)
        code = up.process.wait(60)
    said = up.output()
    assert code == 2
    assert f"Prometheus cannot have port {up.prometheus}" in said
    assert f"(process {psutil.Process().pid})" in said
    assert re.search(r"FLEETPULSE_STACK__PROMETHEUS_PORT=\d+", said)
    assert "stack.prometheus_port" in said
    assert not (up.data_dir / "logs").exists(), "nothing may have been started"


def test_a_dying_child_is_named_and_the_rest_is_stopped(up: Up) -> None:
    up.start(wait=False)
    up.wait_up()
    children = psutil.Process(up.pid).children(recursive=True)
    victim = next(child for child in children if "alertmanager" in child.name())
    victim.kill()
    assert up.process.wait(60) == 1
    said = up.output()
    assert "Alertmanager ended by itself (signal SIGKILL)" in said
    assert str(up.data_dir / "logs" / "alertmanager.log") in said
    assert not psutil.wait_procs(children, timeout=10)[1]


def test_nothing_survives_a_killed_launcher(up: Up) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells children of their parent's death")
    up.start(wait=False)
    up.wait_up()
    children = psutil.Process(up.pid).children(recursive=True)
    up.kill()
    assert not psutil.wait_procs(children, timeout=30)[1]
