"""Ten thousand agents under scrape; the document's own `curl`; a real Prometheus reading awkward names."""

import re
import shlex
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, Stack, get, wait_for
from tests.tools import ROOT, need_tool

AGENTS = 10_000
BATCH = 1_000
CALLS = 100
SEEDS = ROOT.parent / "shared" / "seeds"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
AWKWARD = 'so"ur\\ce 源🔑{}'


def beats(first: int, cpu: float) -> list[dict[str, Any]]:
    """Heartbeats of a batch of agents."""
    return [
        {"agent_id": f"agent-{number:05}", "pool_id": f"pool-{number % 20}", "status": "busy", "cpu_usage": cpu}
        | {"memory_usage": 50, "running_tasks": [{"task_id": number}]}
        for number in range(first, first + BATCH)
    ]


def report_all(exporter: Exporter, cpu: float) -> None:
    """Every agent's heartbeat."""
    for first in range(0, AGENTS, BATCH):
        status, answer = exporter.post("/api/v1/agents/ping", beats(first, cpu))
        assert (status, answer) == (202, {"accepted": BATCH, "rejected": []})


class Scraper(threading.Thread):
    """Scrapes again and again, as Prometheus does it, only without a pause."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._request = urllib.request.Request(f"{url}/metrics", headers={"Accept": OPENMETRICS})  # noqa: S310
        self.over = threading.Event()
        self.samples: list[int] = []

    def run(self) -> None:
        """Scrapes until it is over, and once at least."""
        while not (self.samples and self.over.is_set()):
            with urllib.request.urlopen(self._request, timeout=60) as answer:  # noqa: S310
                body = answer.read()
            whole = body.endswith(b"# EOF\n")
            self.samples.append(body.count(b"\nfleetpulse_agent_") if whole else 0)


def test_ten_thousand_agents_and_everyone_is_answered(exporter: Exporter) -> None:
    report_all(exporter, 10)
    scrapers = [Scraper(exporter.url) for _ in range(2)]
    for scraper in scrapers:
        scraper.start()
    waits = [call_both(exporter, number) for number in range(CALLS)]
    for scraper in scrapers:
        scraper.over.set()
        scraper.join()
        assert set(scraper.samples) == {6 * AGENTS}  # five gauges, and the status
    scrapes = sum(len(scraper.samples) for scraper in scrapers)
    print(f"\n{scrapes} scrapes, {CALLS} pairs of calls meanwhile, the slowest {max(waits) * 1_000:.0f} ms")  # noqa: T201
    samples = exporter.metrics()
    assert samples['fleetpulse_requests_total{source="s",model="none",status="ok"}'] == CALLS
    assert sum(value == 0.9 for name, value in samples.items() if "agent_cpu_usage_ratio" in name) == CALLS
    report_all(exporter, 20)
    assert sum(value == 0.2 for name, value in exporter.metrics().items() if "agent_cpu" in name) == AGENTS


def call_both(exporter: Exporter, number: int) -> float:
    """A request log and a heartbeat; gives how long both answers took."""
    began = time.monotonic()
    log = {"request_id": f"r-{number}", "source": "s", "status": "ok", "execution_time": 1}
    assert exporter.post("/api/log-request", log)[0] == 202
    beat = beats(number, 90)[0]
    assert exporter.post(f"/api/v1/agents/{beat['agent_id']}/ping", beat)[0] == 202
    return time.monotonic() - began


def documented_curl() -> str:
    """The agent's command in its own document."""
    documents = [text for file in sorted(SEEDS.glob("003*")) for text in [file.read_text()]]
    if not documents:
        pytest.skip(f"the document is not in {SEEDS}")
    found = re.search(r"```bash\n(curl [^`]*)```", documents[0])
    assert found
    return found[1]


def test_the_documents_own_curl(exporter: Exporter) -> None:
    """Unchanged but for host and port; curl itself makes `agent_id` of the placeholder in braces."""
    need_tool("curl")
    command = documented_curl().replace("localhost:8080", f"127.0.0.1:{exporter.port}")
    arguments = shlex.split(command.replace("\\\n", " "))
    done = subprocess.run(
        [*arguments, "--silent", "--show-error", "--fail-with-body"], capture_output=True, check=False
    )
    assert done.returncode == 0, done
    (agent,) = exporter.get("/api/v1/agent-pools/default/agents")["agents"]
    assert (agent["agent_id"], agent["status"]) == ("agent_id", "busy")
    assert (agent["cpu_usage"], agent["memory_usage"]) == (45.5, 62.3)
    (task,) = agent["running_tasks"]
    assert (task["task_id"], task["task_type"], task["workspace_id"]) == (123, "plan", "ws-xxx")
    assert task["started_at"] == "2025-01-07T10:30:00Z"


def test_promtool_finds_nothing_to_complain_about(exporter: Exporter) -> None:
    """With something of every kind exposed, as tests of single parts do not have it."""
    feed(exporter)
    text = get(f"{exporter.url}/metrics")
    done = subprocess.run(
        [need_tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def feed(exporter: Exporter) -> None:
    """Something of every kind, with names as awkward as they may be."""
    awkward = {
        "request_id": f'"{AWKWARD}',
        "trace_id": AWKWARD,
        "source": AWKWARD,
        "model": AWKWARD,
        "status": AWKWARD,
    }
    assert exporter.post("/api/log-request", awkward | {"execution_time": 1.5, "cost": 1e-12})[0] == 202
    beat = {"agent_id": AWKWARD, "pool_id": AWKWARD, "status": AWKWARD, "cpu_usage": 0.1, "memory_usage": 1e-9}
    assert exporter.post("/api/v1/agents/ping", beat)[0] == 202
    alert = {"status": "firing", "labels": {"alertname": AWKWARD}, "startsAt": "2025-01-07T10:30:00Z"}
    assert exporter.post("/api/v1/alerts/webhook", {"alerts": [alert | {"fingerprint": "f"}]})[0] == 202


def test_prometheus_reads_every_name_and_exemplar(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    try:
        stack.exporter.start()
        feed(stack.exporter)
        stack.prometheus.start()
        wait_for(lambda: stack.value('up{job="fleetpulse"}') is not None, what="a scrape")
        assert stack.value('up{job="fleetpulse"}') == 1
        (series,) = stack.query("fleetpulse_requests_total")
        assert (series["metric"]["source"], series["metric"]["status"]) == (AWKWARD, AWKWARD.lower())
        (agent,) = stack.query("fleetpulse_agent_up")
        assert agent["metric"]["agent_id"] == AWKWARD
        assert stack.value("fleetpulse_cost_usd_total") == 1e-12
    finally:
        stack.stop()
