import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run
from tests.journal.stand import at_work, requests
from tests.system.harness import Exporter
from typer.testing import CliRunner

from fleetpulse.cli import command_line
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.backup import BackupError

LOG = {"source": "web", "user_id": "u", "command": "ask", "status": "success", "execution_time": 1}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """The data folder of an exporter that has stopped, with one request."""
    async with at_work(tmp_path / "data" / "journal.db") as stand:
        await stand.journal.store(REQUESTS, requests("a"))
    return tmp_path / "data"


def ask(data: Path, *arguments: str | Path, code: int = 0, **settings: str) -> str:
    """What a command prints, run within this process, which is quicker."""
    environment = {"FLEETPULSE_DATA_DIR": str(data), "COLUMNS": "160"} | settings
    said = CliRunner().invoke(command_line("backup", "restore"), [str(each) for each in arguments], env=environment)
    if said.exception is not None and not isinstance(said.exception, SystemExit):
        raise said.exception
    assert said.exit_code == code, said.output
    return said.stdout


def send(exporter: Exporter, *ids: str) -> None:
    status, _ = exporter.post("/api/log-request", [LOG | {"request_id": one} for one in ids])
    assert status == 202


def test_an_exporter_is_backed_up_and_brought_back(run: Run, exporter: Exporter) -> None:
    settings = {"FLEETPULSE_DATA_DIR": str(exporter.data_dir)}
    send(exporter, "a", "b")
    made = run("backup", **settings)
    assert (made.returncode, made.stderr) == (0, "")
    file = Path(made.stdout.splitlines()[0])
    assert "2 requests" in made.stdout
    send(exporter, "c")
    refused = run("restore", file, "--yes", **settings)
    assert refused.returncode == 1
    assert "stop that one" in refused.stderr
    exporter.terminate()
    derived = sorted(path.name for path in exporter.data_dir.glob("*search*"))
    assert derived, "there is an index to go"
    restored = run("restore", file, "--yes", **settings)
    assert restored.returncode == 0
    assert "not in the backup: 1 requests" in restored.stderr
    for part in ("restored", "journal-replaced-", "new epoch", *derived):
        assert part in restored.stdout
    assert list(exporter.data_dir.glob("*search*")) == []
    exporter.start()
    assert [one["request_id"] for one in exporter.get("/api/requests")["requests"]] == ["b", "a"]


def test_backups_are_listed_and_verified(data: Path) -> None:
    assert "no backups" in ask(data, "backup", "list")
    file = Path(ask(data, "backup").splitlines()[0])
    listed = ask(data, "backup", "list")
    assert file.name in listed
    assert "right" in listed
    (shown,) = json.loads(ask(data, "backup", "list", "--json"))
    assert (shown["file"], shown["rows"]["requests"], shown["findings"]) == (str(file), 1, [])
    assert "is sound" in ask(data, "backup", "verify", file)
    verified: dict[str, Any] = json.loads(ask(data, "backup", "verify", file, "--json"))
    assert verified["tables"]["requests"][0] == 1


def test_a_backup_goes_where_it_is_told_and_nothing_is_deleted_there(data: Path, tmp_path: Path) -> None:
    target, folder = tmp_path / "mine.db", tmp_path / "many"
    assert json.loads(ask(data, "backup", "--to", target, "--json"))["file"] == str(target)
    with pytest.raises(BackupError, match="there already"):
        ask(data, "backup", "--to", target)
    for _ in range(2):
        ask(data, "backup", "--to", folder, FLEETPULSE_BACKUP__KEEP="1")
        ask(data, "backup", FLEETPULSE_BACKUP__KEEP="1")
    assert len(list(folder.glob("*.db"))) == 2
    assert len(list((data / "backups").glob("*.db"))) == 1


def test_nothing_is_restored_unless_somebody_says_yes(data: Path) -> None:
    file, before = Path(ask(data, "backup").splitlines()[0]), (data / "journal.db").read_bytes()
    ask(data, "restore", file, code=1)
    assert (data / "journal.db").read_bytes() == before
    told = json.loads(ask(data, "restore", file, "--yes", "--json"))
    assert (told["rows"]["requests"], told["lost"]["requests"]) == (1, 0)
    assert Path(told["set_aside"]).read_bytes() == before


def test_what_is_wrong_is_said_in_words(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("hello " * 1_000)
    said = run("restore", text, "--yes")
    assert (said.returncode, "Traceback" in said.stderr, said.stderr[:12]) == (1, False, "fleetpulse: ")
    with pytest.raises(BackupError, match="no journal"):
        ask(tmp_path / "none", "backup")
    with pytest.raises(BackupError, match="no file"):
        ask(tmp_path / "none", "backup", "verify", tmp_path / "none.db")


def test_books_that_are_wrong_are_a_failure_of_verifying(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.db"
    ask(data, "backup", "--to", target)
    target.with_suffix(".json").unlink()
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("UPDATE totals SET value = 7 WHERE metric = 'fleetpulse_requests_total'")
    said = CliRunner().invoke(command_line("backup", "restore"), ["backup", "verify", str(target)])
    assert said.exit_code == 1
    assert "fleetpulse_requests_total: 1 by the rows, 7 by the totals" in said.output
