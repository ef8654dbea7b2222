"""Programs as people write them: the page's examples, the source document's integration, a bare installation."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from tests.system.harness import Exporter, clean_environment
from tests.system.sending import journal
from tests.tools import ROOT

PAGE = ROOT / "docs" / "client.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BARE = """
import sys
try:
    import pydantic
except ImportError:
    pass
else:
    sys.exit("not bare")
from fleetpulse.client import monitor
with monitor.request(command="bare") as call:
    call.tokens(1, 2)
print(monitor.flush(60), monitor.stats().sent)
"""
TYPED = """
import asyncio

from fleetpulse.client import Call, Heartbeat, Monitor, monitor


@monitor.track(command="x", usage=True)
async def ask(text: str) -> int:
    with monitor.request(user_id=1, cost=0.5) as call:
        one: Call = call
        one.tokens(1, 2)
    beat: Heartbeat = monitor.heartbeat(agent_id="a")
    with beat.task("plan"):
        pass
    return len(text)


@monitor.track
def plain(number: float) -> str:
    return str(number)


length: int = asyncio.run(ask("x"))
words: str = plain(1.0)
request_id: str = asyncio.run(monitor.log_request(source="web", model=None))
activity_id: str = monitor.activity(account_id=1, kind="reply", reply_time=1.5)
sent: int = Monitor(spool=None).stats().sent
"""


def run(exporter: Exporter, folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        env=clean_environment(FLEETPULSE_URL=exporter.url, FLEETPULSE_SPOOL=str(folder / "spool")),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_page_runs_as_written(exporter: Exporter, tmp_path: Path) -> None:
    program = "\n".join(BLOCK.findall(PAGE.read_text("utf-8"))).replace("http://127.0.0.1:8001", exporter.url)
    done = run(exporter, tmp_path, sys.executable, "-W", "error", "-c", program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Stats(queued=0, logged=6, ")
    found = journal(
        exporter.data_dir, "SELECT command, user_id, input_tokens, model FROM requests ORDER BY id", tmp_path
    )
    assert found == [
        ("ai:hello", "user_001", 1_200, "gpt-4o"),
        ("chat", "42", 900, "gpt-4o"),
        ("summarise", "user_002", 700, "gpt-4o-mini"),
        ("nightly", "", None, None),
    ]
    (worker,) = exporter.get("/api/v1/agent-pools/workers/agents")["agents"]
    assert (worker["agent_id"], worker["status"]) == ("worker-1", "offline")


def test_the_source_documents_integration_runs_unchanged(exporter: Exporter, tmp_path: Path) -> None:
    done = run(exporter, tmp_path, sys.executable, ROOT / "tests" / "system" / "apps" / "website.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["You said: 你好", "the model is away", "done: /status"]
    query = "SELECT source, user_id, command, status, tokens_used, cost FROM requests ORDER BY id"
    assert journal(exporter.data_dir, query, tmp_path) == [
        ("web", "user_001", "你好", "success", 35, pytest.approx(0.00007)),
        ("web", "anonymous", "fail", "error", 0, None),
        ("telegram", "user_002", "/status", "success", 0, None),
        ("web", "user_001", "ai:你好", "success", 150, 0.0003),
    ]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel and nothing else; its Python."""
    folder = tmp_path_factory.mktemp("bare")
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    assert "fleetpulse/py.typed" in zipfile.ZipFile(wheel).namelist()
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True, timeout=120)
    return python


def test_the_client_works_where_only_it_is_installed(exporter: Exporter, tmp_path: Path, bare: Path) -> None:
    done = run(exporter, tmp_path, bare, "-I", "-c", BARE)
    assert (done.stdout, done.stderr) == ("True 1\n", "")
    assert journal(exporter.data_dir, "SELECT command, tokens_used FROM requests", tmp_path) == [("bare", 3)]


@pytest.mark.parametrize("command", [["fleetpulse"], ["python", "-m", "fleetpulse", "serve"]])
def test_the_command_says_what_it_lacks(exporter: Exporter, tmp_path: Path, bare: Path, command: list[str]) -> None:
    done = run(exporter, tmp_path, bare.parent / command[0], *command[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "pip install 'fleetpulse[server]'" in done.stderr


def test_a_program_of_the_strictest_types_is_happy(exporter: Exporter, tmp_path: Path, bare: Path) -> None:
    """Checked against what is installed, without the server's libraries: what is tracked keeps its types."""
    (tmp_path / "program.py").write_text(TYPED)
    strict = ["--strict", "--disallow-any-decorated", "--config-file=", f"--python-executable={bare}"]
    done = run(exporter, tmp_path, sys.executable, "-m", "mypy", *strict, "program.py")
    assert done.returncode == 0, done.stdout
