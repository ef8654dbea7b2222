"""`fleetpulse alertmanager`, as people use it, but in this process: starting Python takes the longest of it."""

import json
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.stack.alerting.places import alertmanager
from tests.stack.alerting.samples import EVERY_KIND, SECRETS, rendered
from tests.system.harness import free_port
from tests.tools import need_tool

from fleetpulse.cli import main


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `fleetpulse` with arguments in an empty folder; settings as keywords."""
    folder = tmp_path / "client"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str | Path, **settings: str) -> Said:
        with monkeypatch.context() as patched:
            for name, value in {"COLUMNS": "160", **settings}.items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["fleetpulse", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, *capsys.readouterr())

    return call


def variables(**more: str) -> dict[str, str]:
    made = {f"FLEETPULSE_ALERTING__{kind.upper()}": json.dumps(channels) for kind, channels in EVERY_KIND.items()}
    return made | more


def test_it_is_shown_without_secrets_unless_asked(run: Run) -> None:
    need_tool("amtool")
    shown, whole = (run("alertmanager", "render", *more, **variables()) for more in ((), ("--show-secrets",)))
    assert (shown.returncode, whole.returncode) == (0, 0)
    assert [secret for secret in SECRETS if secret in shown.stdout + shown.stderr] == []
    assert [secret for secret in SECRETS if secret not in whole.stdout] == []
    assert shown.stdout.startswith("# Rendered by `fleetpulse alertmanager render`")


def test_it_is_written_for_its_owner_alone(run: Run, tmp_path: Path) -> None:
    need_tool("amtool")
    path = tmp_path / "etc" / "alertmanager.yml"
    said = run("alertmanager", "render", "--output", path, **variables())
    assert said.returncode == 0, said.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.parent / "templates" / "messages.tmpl").is_file()
    assert [secret for secret in SECRETS if secret in said.stdout + said.stderr] == []
    written = path.read_bytes()
    assert run("alertmanager", "render", "--output", path, **variables()).returncode == 0
    assert path.read_bytes() == written


def test_a_check_names_who_can_be_told(run: Run) -> None:
    need_tool("amtool")
    said = run("alertmanager", "check", **variables())
    assert said.returncode == 0, said.stderr
    assert "chat: telegram -1001 2, discord, slack #alerts" in said.stdout
    assert "is valid" in said.stdout
    assert [secret for secret in SECRETS if secret in said.stdout + said.stderr] == []


def test_an_older_amtool_judges_no_newer_configuration(run: Run) -> None:
    need_tool("amtool")
    said = run("alertmanager", "check", "--target", "latest", **variables())
    assert said.returncode == 0, said.stderr
    assert "Alertmanager newest is" in said.stdout


def test_nothing_set_is_fine_and_said(run: Run) -> None:
    said = run("alertmanager", "check")
    assert said.returncode == 0, said.stderr
    assert "Nobody is told" in said.stdout


def test_wrong_arguments_and_settings_are_named(run: Run) -> None:
    for arguments, wrong in (
        (("render", "--target", "0.24"), "older than 0.25"),
        (("render", "--target", "new"), "is not a version"),
        (("test", "--label", "channel"), "write name=value"),
    ):
        said = run("alertmanager", *arguments)
        assert said.returncode == 2
        assert wrong in said.stderr
    said = run("alertmanager", "render", FLEETPULSE_ALERTING__ROUTES='[{"receivers": ["who"]}]')
    assert said.returncode == 2
    assert "routes: who names nothing" in said.stderr


def test_whom_an_alert_would_reach_is_shown(run: Run) -> None:
    need_tool("amtool")
    routes = json.dumps([{"receivers": ["pager"], "pools": ["vip"], "severities": ["critical"]}])
    own = variables(FLEETPULSE_ALERTING__ROUTES=routes)
    said = run("alertmanager", "test", "--severity", "critical", "--pool", "vip", **own)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["fleetpulse: Fleetpulse's own list and feed of alerts", "pager: pagerduty"]
    said = run("alertmanager", "test", "--alertname", "Notification", "--label", "channel=sms", **own)
    assert said.stdout.splitlines() == ["ops (sms): sns +4915112345678"]


async def test_an_alert_can_be_sent_and_the_file_read_anew(run: Run, tmp_path: Path) -> None:
    config = rendered(tmp_path / "etc")
    async with alertmanager(config, tmp_path) as real:
        own = {"FLEETPULSE_STACK__ALERTMANAGER_URL": f"http://{real.address}"}
        said = run("alertmanager", "test", "--severity", "critical", "--send", **own)
        assert said.returncode == 0, said.stderr
        async with real.session.get(f"http://{real.address}/api/v2/alerts") as answer:
            (alert,) = await answer.json()
        assert alert["labels"] == {"alertname": "FleetpulseTest", "severity": "critical"}
        written = run("alertmanager", "render", "--output", config, "--reload", **variables(**own))
        assert written.returncode == 0, written.stderr
        async with real.session.get(f"http://{real.address}/api/v2/receivers") as answer:
            assert "pager" in {each["name"] for each in await answer.json()}


def test_an_alertmanager_that_is_away_is_named(run: Run) -> None:
    need_tool("amtool")
    address = f"http://127.0.0.1:{free_port()}"
    said = run("alertmanager", "test", "--send", FLEETPULSE_STACK__ALERTMANAGER_URL=address)
    assert said.returncode == 1
    assert f"{address}/api/v2/alerts cannot be reached" in said.stderr


def test_the_general_check_looks_at_it_too(run: Run, tmp_path: Path) -> None:
    telegram = json.dumps([{"name": "a", "bot_token_file": str(tmp_path / "gone"), "chat_ids": [1]}])
    base = {"FLEETPULSE_PORT": str(free_port()), "FLEETPULSE_DATA_DIR": str(tmp_path / "data")}
    said = run("check", FLEETPULSE_ALERTING__TELEGRAM=telegram, **base)
    assert said.returncode == 1
    assert "alerting.telegram.0.bot_token" in said.stdout
    assert "can be told" in run("check", **variables(**base)).stdout
