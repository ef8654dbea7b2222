"""demo, replay and agent against a real exporter."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.system.harness import Exporter, Program, clean_environment, free_port, get_json, wait_for

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{number // 60 % 60:02}:{number % 60:02}.1234567,{number},{number % 7}\n"
    for number in range(2_500)
)
GIVEN = ("--set", "source=web", "--set", "model=gpt-4o")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    return path


def requests(exporter: Exporter) -> float:
    return sum(value for name, value in exporter.metrics().items() if name.startswith("fleetpulse_requests_total"))


def tokens(exporter: Exporter, kind: str) -> float:
    return exporter.metrics()[f'fleetpulse_tokens_total{{source="web",model="gpt-4o",kind="{kind}"}}']


def agents(exporter: Exporter, pool: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_json(f"{exporter.url}/api/v1/agent-pools/{pool}/agents")["agents"]
    return found


def test_the_demo_sends_fifty_requests_and_a_fleet(run: Run, exporter: Exporter) -> None:
    said = run("demo", "--url", exporter.url)
    assert said.returncode == 0, said.stderr
    assert "50 requests accepted, 0 duplicates, 0 rejected; 7 agents" in said.stdout
    assert f"{exporter.url}/metrics" in said.stdout
    assert requests(exporter) == 50
    assert len(agents(exporter, "coding")) + len(agents(exporter, "support")) == 7
    run("demo", "--url", exporter.url, "--seed", "1")
    run("demo", "--url", exporter.url, "--seed", "1")
    assert requests(exporter) == 150


def test_a_steady_demo_goes_on_until_ctrl_c_and_its_agents_say_goodbye(exporter: Exporter, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetpulse", "demo", "--rate", "200", "--url", exporter.url]
    demo = Program("demo", command, "", tmp_path / "demo.log", clean_environment())
    demo.start(wait=False)
    try:
        wait_for(lambda: requests(exporter) > 100)
        assert demo.end(signal.SIGINT) == 0, demo.output()
    finally:
        demo.stop()
    assert {agent["status"] for agent in agents(exporter, "coding")} == {"offline"}
    assert "requests accepted" in demo.output()


def test_a_replay_counts_exactly_and_again_as_duplicates(run: Run, exporter: Exporter, trace: Path) -> None:
    first = run("replay", trace, *GIVEN, "--url", exporter.url)
    assert first.returncode == 0, first.stderr
    assert "sent 2500: accepted 2500, duplicates 0, rejected 0" in first.stdout
    assert "Azure LLM inference trace" in first.stderr
    assert "sent 2500: accepted 0, duplicates 2500" in run("replay", trace, *GIVEN, "--url", exporter.url).stdout
    assert requests(exporter) == 2_500
    assert tokens(exporter, "input") == sum(range(2_500))
    assert tokens(exporter, "output") == sum(number % 7 for number in range(2_500))


def test_another_id_prefix_makes_the_same_file_count_again(run: Run, exporter: Exporter, trace: Path) -> None:
    for prefix in ("one", "two"):
        assert run("replay", trace, *GIVEN, "--url", exporter.url, "--id-prefix", prefix).returncode == 0
    assert requests(exporter) == 5_000


def test_at_a_speed_rows_come_when_they_are_due(run: Run, exporter: Exporter, tmp_path: Path) -> None:
    path = tmp_path / "minute.csv"
    path.write_text("".join(TRACE.splitlines(keepends=True)[:61]))
    said = run("replay", path, *GIVEN, "--url", exporter.url, "--speed", "30", "--now")
    assert said.returncode == 0
    seconds = float(said.stdout.split(";")[1].split()[0])
    assert seconds >= 59 / 30, "59 s of rows at 30 times real time cannot be done sooner"
    assert requests(exporter) == 60


def test_rejected_rows_are_explained_and_fail_the_command(run: Run, exporter: Exporter, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    good = '{"source": "web", "status": "success", "execution_time": 1}\n'
    path.write_text(good + '{"source": "web", "status": "success", "execution_time": -1}\n' + "nonsense\n" + good)
    said = run("replay", path, "--url", exporter.url)
    assert said.returncode == 1
    assert "sent 4: accepted 2, duplicates 0, rejected 2" in said.stdout
    assert "row 2: execution_time" in said.stderr
    assert "row 3: is not JSON" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing says the source"),
        (("--set", "sauce=web"), "did you mean source"),
        (("--set", "source=web", "--map", "cost=Price"), "has the columns TIMESTAMP"),
        (("--set", "source"), "write --set FIELD=VALUE"),
        (("--set", "source=web", "--speed", "warp"), "--speed warp"),
        (("--set", "source=web", "--url", "localhost:1"), "http://localhost:1"),
        (("--set", "source=web", "--app-key", "k"), "--app-secret"),
    ],
)
def test_wrong_arguments_are_explained(run: Run, trace: Path, arguments: tuple[str, ...], words: str) -> None:
    said = run("replay", trace, *arguments)
    assert said.returncode == 2
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_where_nobody_listens_it_says_so_and_fails(run: Run, trace: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    said = run("replay", trace, *GIVEN, "--url", nowhere, "--patience", "0.5")
    assert said.returncode == 1
    assert "cannot connect" in said.stderr
    assert nowhere in said.stderr
    assert "Traceback" not in said.stderr


def test_an_agent_reports_this_host_and_leaves_politely(exporter: Exporter, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetpulse", "agent", "box", "--pool", "racks", "--interval", "0.5"]
    agent = Program("agent", [*command, "--url", exporter.url], "", tmp_path / "agent.log", clean_environment())
    agent.start(wait=False)
    try:
        wait_for(lambda: agents(exporter, "racks")[0]["status"] == "online")
        assert 0 < agents(exporter, "racks")[0]["memory_usage"] <= 100
        assert agent.terminate() == 0, agent.output()
    finally:
        agent.stop()
    assert agents(exporter, "racks")[0]["status"] == "offline"


def test_an_agent_once(run: Run, exporter: Exporter) -> None:
    said = run("agent", "box", "--once", FLEETPULSE_URL=exporter.url)
    assert said.returncode == 0
    assert said.stdout.startswith("box: CPU ")
    assert [agent["agent_id"] for agent in agents(exporter, "default")] == ["box"]
