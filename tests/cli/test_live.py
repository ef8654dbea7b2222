"""`fleetpulse live` against a real exporter, as people and programs use it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.system.harness import DEADLINE, Exporter, Program, clean_environment, wait_for
from tests.web.server import new_id, request_log

from fleetpulse.cli.live import filter_of
from fleetpulse.errors import InvalidInputError


def log(exporter: Exporter, **fields: Any) -> str:
    request = request_log(**fields)
    assert exporter.post("/api/log-request", request)[0] == 202
    return str(request["request_id"])


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture
def following(exporter: Exporter, tmp_path: Path) -> Any:
    """Starts `fleetpulse live` with arguments; its output is in the program's log."""
    running: list[Program] = []

    def start(*arguments: str) -> Program:
        command = [sys.executable, "-m", "fleetpulse", "live", *arguments, "--url", exporter.url]
        program = Program("live", command, "", tmp_path / f"live-{len(running)}.log", clean_environment())
        running.append(program)
        program.start(wait=False)
        return program

    yield start
    for program in running:
        program.stop()


def test_programs_get_json_lines(exporter: Exporter, following: Any) -> None:
    live = following("requests", "agents", "--filter", "status=error")
    wait_for(lambda: {one["type"] for one in objects(live.output())} >= {"subscribed", "snapshot"})
    log(exporter, status="success")
    wanted = log(exporter, status="error")
    event = wait_for(lambda: [one for one in objects(live.output()) if one["type"] == "event"])[0]
    assert (event["topic"], event["offset"], event["data"]["request_id"]) == ("requests", 2, wanted)
    assert event["epoch"]
    assert live.end(signal.SIGINT) == 0, live.output()


def test_people_get_a_line_each(exporter: Exporter, following: Any) -> None:
    live = following("requests", "--no-json", "--count", "1")
    wait_for(lambda: "subscribed at offset 0" in live.output())
    log(exporter, source="web", command="say [bold]hi[/bold]")
    assert live.process.wait(DEADLINE) == 0
    assert "source=web" in live.output()
    assert "command=say [bold]hi[/bold]" in live.output()


def test_it_goes_on_where_the_last_run_stopped_and_over_restarts(
    exporter: Exporter, following: Any, tmp_path: Path
) -> None:
    place = str(tmp_path / "seen.json")
    live = following("requests", "--since-position", place, "--count", "1")
    wait_for(lambda: objects(live.output()))
    seen = [log(exporter)]
    assert live.process.wait(DEADLINE) == 0
    while_away = [log(exporter) for _ in range(3)]
    live = following("requests", "--since-position", place)
    wait_for(lambda: len([one for one in objects(live.output()) if one["type"] == "event"]) == 3)
    got = [one["data"]["request_id"] for one in objects(live.output()) if one["type"] == "event"]
    assert (len(seen), got) == (1, while_away)
    assert live.terminate() == 0


def test_what_is_wrong_is_said_in_words(run: Run, exporter: Exporter) -> None:
    for arguments, words in (
        (("nonsense", "--url", exporter.url), "nonsense"),
        (("requests", "--url", exporter.url, "--filter", "status"), "FIELD=VALUE"),
        (("requests", "--url", f"{exporter.url}/elsewhere"), "no live feed"),
    ):
        said = run("live", *arguments)
        assert said.returncode in (1, 2)
        assert words in said.stderr
        assert "Traceback" not in said.stderr


def test_a_pipe_that_closes_ends_it_quietly(exporter: Exporter) -> None:
    command = f"{sys.executable} -m fleetpulse live requests --url {exporter.url} | head -n 1"
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "subscribed"

        def nudged() -> bool:
            log(exporter, request_id=new_id())
            return process.poll() is not None

        wait_for(nudged)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        assert process.returncode == 0


def test_filters_match_texts_and_what_they_read_as() -> None:
    assert filter_of(["status=error,timeout", "n=5", "n=1.5", "ok=true"]) == {
        "status": ["error", "timeout"],
        "n": ["5", 5, "1.5", 1.5],
        "ok": ["true", True],
    }
    with pytest.raises(InvalidInputError):
        filter_of(["=x"])
