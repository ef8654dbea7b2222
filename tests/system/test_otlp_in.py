"""Applications that are instrumented with published packages show up with nothing but environment variables set.

Each runs as docs/opentelemetry.md says, against a stand-in for the provider, in an environment where only one
instrumentation is installed; then journal, series and dashboards have what the provider said.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.grafana.queries import asked
from tests.system.apps import model_server as provider
from tests.system.harness import Stack, clean_environment, wait_for
from tests.system.test_dashboards_live import RANGE, Samples, ask, numbers

ROOT = Path(__file__).parents[2]
APPS = ROOT / "tests" / "system" / "apps"
BLOCK = re.compile(r"^```sh\n(export OTEL_SERVICE_NAME=.*?)^```$", re.MULTILINE | re.DOTALL)
USD = {"input": 2.5e-6, "cached": 1.25e-6, "output": 10e-6, "embedded": 0.02e-6}  # genai-prices, for both models
LAUNCHER = "#!{python}\nfrom opentelemetry.instrumentation.auto_instrumentation import run\nrun()\n"


class App(NamedTuple):
    """An instrumented application: its instrumentation, its name as a service, and what is told of its calls."""

    instrumentation: str
    service: str
    cached: int
    commands: list[str]

    @property
    def cost(self) -> float:
        """What the provider's answers cost."""
        sent = provider.INPUT - self.cached + provider.STREAM_INPUT
        received = provider.OUTPUT + provider.STREAM_OUTPUT
        tokens = {"input": sent, "cached": self.cached, "output": received, "embedded": provider.EMBEDDED}
        return sum(tokens[kind] * USD[kind] for kind in tokens)


ANSWERS = ["Four.", "It is four.", "[0.25, -0.5]", "refused with 429", "refused with 500"]
RUNS = [
    App(  # it tells of no cached tokens, and captures content only when it is told to
        "opentelemetry.instrumentation.openai_v2",
        f"v2-{uuid.uuid4().hex[:8]}",
        cached=0,
        commands=["chat", "chat", "embeddings", "chat", "chat"],
    ),
    App(
        "openinference.instrumentation.openai",
        f"oi-{uuid.uuid4().hex[:8]}",
        cached=provider.CACHED,
        commands=[
            "chat: What is two and two?",
            "chat: 两加二等于几?",
            "embeddings: two and two",
            "chat: 429",
            "chat: 500",
        ],
    ),
]


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: str(run.instrumentation))
def run(request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> App:
    """An application that has run, and that Prometheus has seen."""
    app: App = request.param
    try:
        import_module(app.instrumentation)
    except ImportError as error:
        pytest.skip(f"{app.instrumentation} does not fit what it needs of other packages: {error}")
    environment = installed(tmp_path_factory.mktemp("environment"), app)
    with provider.model_server() as url:
        assert start(app.service, stack.exporter_url, url, environment).splitlines() == ANSWERS
    counted = f'sum(fleetpulse_requests_total{{source="{app.service}"}})'
    wait_for(lambda: stack.value(counted) == len(ANSWERS), what=f"{app.service} in Prometheus")
    return app


def installed(folder: Path, app: App) -> Path:
    """An environment with what is installed here, but of the instrumentations only the application's own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    left_out = [f"{other.instrumentation.replace('.', '_')}-" for other in RUNS if other != app]
    for each in Path(pytest.__file__).parents[1].iterdir():
        if not each.name.startswith(tuple(left_out)) and "fleetpulse" not in each.name:
            (site / each.name).symlink_to(each)
    launcher = folder / "bin" / "opentelemetry-instrument"
    launcher.write_text(LAUNCHER.format(python=folder / "bin" / "python"))
    launcher.chmod(0o755)
    return folder


def start(service: str, exporter: str, url: str, environment: Path) -> str:
    """Runs the application as the document says; what it printed."""
    (block,) = BLOCK.findall((ROOT / "docs/opentelemetry.md").read_text("utf-8"))
    script = block.replace("http://127.0.0.1:8001", exporter).replace("=assistant\n", f"={service}\n")
    assert (exporter in script, service in script) == (True, True)
    variables = clean_environment(
        PATH=f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", OPENAI_BASE_URL=url, OPENAI_API_KEY="none"
    )
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", script],
        cwd=APPS,
        env={name: value for name, value in variables.items() if not name.startswith(("OTEL_", "PYTHON"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(stack: Stack, run: App, *columns: str) -> list[tuple[Any, ...]]:
    """What the journal has of an application, in the order of its calls."""
    where = f"file:{stack.exporter.data_dir / 'journal.db'}?mode=ro"
    with closing(sqlite3.connect(where, uri=True)) as connection:
        query = f"SELECT {','.join(columns)} FROM requests WHERE source = ? ORDER BY timestamp"  # noqa: S608 - ours
        return connection.execute(query, (run.service,)).fetchall()


def test_the_journal_has_every_call(stack: Stack, run: App) -> None:
    found = rows(stack, run, "model", "status", "input_tokens", "cached_tokens", "output_tokens", "provider")
    assert found == [
        (provider.MODEL, "success", provider.INPUT, run.cached or None, provider.OUTPUT, "openai"),
        (provider.MODEL, "success", provider.STREAM_INPUT, None, provider.STREAM_OUTPUT, "openai"),
        (provider.EMBEDDING_MODEL, "success", provider.EMBEDDED, None, None, "openai"),
        ("gpt-4o", "rate_limited", None, None, None, "openai"),
        ("gpt-4o", "error", None, None, None, "openai"),
    ]


def test_the_journal_knows_cost_and_latency(stack: Stack, run: App) -> None:
    found = rows(stack, run, "cost", "cost_source", "execution_time", "trace_id", "error")
    assert sum(cost or 0 for cost, *_ in found) == pytest.approx(run.cost, rel=1e-9)
    assert [source for _, source, *_ in found] == ["computed"] * 3 + [None] * 2
    assert all(0 < seconds < 60 for _, _, seconds, *_ in found)
    assert len({trace for *_, trace, _ in found}) == len(ANSWERS)
    assert ["told to answer 429" in (error or "") for *_, error in found] == [False] * 3 + [True, False]


def test_what_was_said_is_the_command_where_it_is_captured(stack: Stack, run: App) -> None:
    assert [command for (command,) in rows(stack, run, "command")] == run.commands


def test_series_have_it_without_prometheus(stack: Stack, run: App) -> None:
    samples = stack.exporter.metrics()

    def total(name: str, *labels: str) -> float:
        wanted = (f'source="{run.service}"', *labels)
        parts = (value for key, value in samples.items() if key.startswith(f"fleetpulse_{name}{{"))
        keys = (key for key in samples if key.startswith(f"fleetpulse_{name}{{"))
        return sum(value for key, value in zip(keys, parts, strict=True) if all(each in key for each in wanted))

    assert total("requests_total", f'model="{provider.MODEL}"', 'status="success"') == 2
    assert total("tokens_total", 'kind="cached"') == run.cached
    assert total("tokens_total", 'kind="output"') == provider.OUTPUT + provider.STREAM_OUTPUT
    assert total("cost_usd_total") == pytest.approx(run.cost, rel=1e-9)
    assert total("unpriced_requests_total") == 0
    assert total("request_duration_seconds_count") == len(ANSWERS)


def shown(stack: Stack, run: App, panel: str, label: str = "") -> Samples:
    """What a panel of a dashboard shows of an application."""
    (query,) = (each for each in asked(RANGE, source=run.service) if (each.panel, each.ref_id) == (panel, "A"))
    return {series["metric"].get(label, ""): sum(numbers([series])) for series in ask(stack, query)}


def test_dashboards_show_it(stack: Stack, run: App) -> None:
    tokens = provider.INPUT + provider.OUTPUT + provider.STREAM_INPUT + provider.STREAM_OUTPUT + provider.EMBEDDED
    assert shown(stack, run, "Requests") == {"": len(ANSWERS)}
    assert shown(stack, run, "Tokens") == {"": tokens}
    assert shown(stack, run, "Cost")[""] == pytest.approx(run.cost, rel=1e-9)
    assert shown(stack, run, "Failures") == {"": 2}
    assert shown(stack, run, "Average time")[""] > 0
    assert shown(stack, run, "By model", "model") == {provider.MODEL: 2, provider.EMBEDDING_MODEL: 1, "gpt-4o": 2}
    assert shown(stack, run, "Sources", "source") == {run.service: len(ANSWERS)}
