import json
import socket
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.reports.sink import Sink
from tests.system.harness import Exporter, free_port


def settings(folder: Path, **more: str) -> dict[str, str]:
    return {"FLEETPULSE_PORT": str(free_port()), "FLEETPULSE_DATA_DIR": str(folder / "data"), **more}


def test_a_good_configuration_passes_and_nothing_is_changed(run: Run, tmp_path: Path) -> None:
    said = run("check", **settings(tmp_path))
    assert said.returncode == 0, said.stdout
    assert "0 errors" in said.stdout
    assert "stack.prometheus_url" in said.stdout
    assert not (tmp_path / "data").exists()


def test_wrong_settings_are_told_one_by_one(run: Run, tmp_path: Path) -> None:
    wrong = {"FLEETPULSE_PORT": "x", "FLEETPULSE_STACK__BOGUS": "1", "FLEETPULSE_TIMEZONE": "Nowhere"}
    said = run("check", **wrong, FLEETPULSE_PROT="8001", FLEETPULSE_DATA_DIR=str(tmp_path))
    assert said.returncode == 1
    for setting in ("port", "stack.bogus", "timezone", "FLEETPULSE_PROT"):
        assert setting in said.stdout
    assert "3 errors, 1 warning" in said.stdout


def test_a_taken_port_names_its_owner(run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = run("check", **settings(tmp_path, FLEETPULSE_PORT=str(server.getsockname()[1])))
    assert said.returncode == 1
    assert "(process " in said.stdout
    assert "FLEETPULSE_PORT=" in said.stdout


def test_a_running_exporter_is_no_error(run: Run, exporter: Exporter) -> None:
    said = run("check", FLEETPULSE_PORT=str(exporter.port), FLEETPULSE_DATA_DIR=str(exporter.data_dir))
    assert said.returncode == 0, said.stdout
    assert "a Fleetpulse is running there" in said.stdout
    assert "is sound" in said.stdout


def test_a_damaged_journal_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "journal.db").write_bytes(b"not a database" * 1_000)
    said = run("check", **settings(tmp_path))
    assert said.returncode == 1
    assert "damaged" in said.stdout


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("FLEETPULSE_HOST", "0.0.0.0", "fleetpulse token key"),  # noqa: S104 - what is refused
        ("FLEETPULSE_AUTH__JWT_SECRET_FILE", "/nonexistent", "cannot be read"),
        ("FLEETPULSE_AUTH__JWT_SECRET", "short", "fewer than 32"),
        ("FLEETPULSE_DATA_DIR", "/proc/nowhere", "cannot be written"),
    ],
)
def test_what_cannot_work_is_an_error(run: Run, tmp_path: Path, setting: str, value: str, words: str) -> None:
    said = run("check", **(settings(tmp_path) | {setting: value}))
    assert said.returncode == 1
    assert words in " ".join(said.stdout.split())
    assert "Traceback" not in said.stderr


def test_it_tries_the_mail_server(run: Run, tmp_path: Path) -> None:
    with Sink() as sink:
        mail = {"HOST": "127.0.0.1", "PORT": str(sink.port), "SECURITY": "none"}
        own = settings(tmp_path, **{f"FLEETPULSE_REPORTS__SMTP_{name}": value for name, value in mail.items()})
        assert "the mail server 127.0.0.1 answers" in run("check", **own).stdout
        assert sink.received == []
    said = run("check", **own)
    assert "127.0.0.1: the mail server: ConnectionRefusedError" in " ".join(said.stdout.split())
    assert said.returncode == 0


def test_secrets_are_never_shown(run: Run, tmp_path: Path) -> None:
    said = run("check", **settings(tmp_path, FLEETPULSE_AUTH__JWT_SECRET="hush-" * 10))
    assert "hush" not in said.stdout + said.stderr
    said = run("check", **settings(tmp_path, FLEETPULSE_AUTH__JWT_SECRET="hush"))  # noqa: S106 - too short on purpose
    assert "hush" not in said.stdout + said.stderr


def test_it_says_where_records_go_and_what_is_wrong_with_opentelemetrys_variables(run: Run, tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:secret@127.0.0.1:4318"}
    said = run("check", **settings(tmp_path, **endpoint))
    assert said.returncode == 0, said.stdout
    assert "log records are sent to http://127.0.0.1:4318/v1/logs" in said.stdout
    assert "secret" not in said.stdout
    said = run("check", **settings(tmp_path, **endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="grpc"))
    assert said.returncode == 1
    assert "only http/protobuf is spoken" in said.stdout


def test_it_looks_at_the_streams_to_be_recorded(run: Run, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hush")
    files = {"Authorization": str(token), "Cookie": str(tmp_path / "missing")}
    stream = {"name": "room", "url": "wss://chat.example.org/ws?key=hush", "header_files": files}
    own = settings(tmp_path, FLEETPULSE_TAP__STREAMS=json.dumps([stream]))
    said = run("check", **own)
    assert said.returncode == 1
    assert "is recorded from wss://chat.example.org/ws" in said.stdout
    assert "missing cannot be read" in " ".join(said.stdout.split())
    assert "hush" not in said.stdout
    (tmp_path / "missing").write_text("x")
    assert run("check", **own).returncode == 0
