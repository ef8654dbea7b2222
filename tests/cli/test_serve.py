import signal
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.system.harness import Exporter, free_port, is_ready, wait_for


def test_options_win_over_the_environment(tmp_path: Path) -> None:
    exporter = Exporter(tmp_path)
    port = free_port()
    exporter._command += ["--port", str(port), "--data-dir", str(tmp_path / "other")]  # noqa: SLF001 - same process, more arguments
    try:
        exporter.start(wait=False)
        wait_for(lambda: is_ready(f"http://127.0.0.1:{port}/-/ready"))
        assert (tmp_path / "other" / "journal.db").exists()
        assert exporter.end(signal.SIGINT) == 0
    finally:
        exporter.stop()


@pytest.mark.parametrize("command", ["serve", "up"])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"FLEETPULSE_PORT": "seven"}, "port: "),
        ({"FLEETPULSE_TIMEZONE": "Mars/Olympus"}, "timezone: "),
        ({"FLEETPULSE_STACK__PORT": "1"}, "stack.port: "),
        ({"FLEETPULSE_BUDGETS": "lots"}, "budgets"),
        ({"FLEETPULSE_CONFIG": "/nonexistent.yaml"}, "FLEETPULSE_CONFIG names /nonexistent.yaml"),
        ({"FLEETPULSE_HOST": "0.0.0.0"}, "fleetpulse token key"),  # noqa: S104 - what is refused
    ],
)
def test_what_cannot_work_is_said_in_words(run: Run, command: str, settings: dict[str, str], words: str) -> None:
    said = run(command, **settings)
    assert said.returncode == 2
    assert said.stdout == ""
    assert words in said.stderr
    assert "Traceback" not in said.stderr
    assert "fleetpulse check" in said.stderr


def test_a_taken_port_is_said_in_words(run: Run, exporter: Exporter, tmp_path: Path) -> None:
    said = run("serve", "--port", str(exporter.port), "--data-dir", tmp_path / "second")
    assert said.returncode == 2
    assert str(exporter.port) in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("content", ["- a list", "{", "port: [1", '"text"', "prot: 1"])
def test_a_broken_file_is_named(run: Run, tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    said = run("serve", "--config", path)
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    assert "broken.yaml" in said.stderr or "prot" in said.stderr
