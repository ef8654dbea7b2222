import pytest
from tests.cli.conftest import Run
from typer.testing import CliRunner

from fleetpulse.cli import NAMES, command_line

COMMANDS = (
    "up",
    "serve",
    "demo",
    "replay",
    "agent",
    "live",
    "tap",
    "report",
    "price",
    "notify",
    "backup",
    "restore",
    "check",
)
TOKEN_COMMANDS = ("key", "list", "revoke", "jwt", "secret")


def ask(*arguments: str) -> str:
    said = CliRunner().invoke(command_line(*NAMES), arguments, env={"COLUMNS": "160"})
    assert said.exit_code == 0
    return said.output


def test_help_lists_every_command_and_says_how_to_begin() -> None:
    said = ask("--help")
    assert "fleetpulse up" in said
    for command in (*COMMANDS, "token", "alertmanager"):
        assert f" {command} " in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str) -> None:
    said = ask(command, "--help")
    assert "Examples" in said
    assert f"fleetpulse {command}" in said


@pytest.mark.parametrize("command", TOKEN_COMMANDS)
def test_every_token_command_has_help(command: str) -> None:
    assert "Usage" in ask("token", command, "--help")


@pytest.mark.parametrize("command", ["render", "check", "test"])
def test_every_alertmanager_command_teaches_by_example(command: str) -> None:
    assert f"fleetpulse alertmanager {command}" in ask("alertmanager", command, "--help")


def test_the_version_is_told() -> None:
    assert ask("--version").startswith("fleetpulse 0.")


def test_an_unknown_option_is_refused_without_a_trace(run: Run) -> None:
    said = run("serve", "--prot", "1")
    assert said.returncode == 2
    assert "--port" in said.stderr
    assert "Traceback" not in said.stderr
