import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.conftest import Run
from tests.system.harness import Exporter

LOG = {"source": "web", "user_id": "u", "command": "ask", "status": "success", "execution_time": 1}


def send(exporter: Exporter, *ids: str) -> None:
    status, _ = exporter.post("/api/log-request", [LOG | {"request_id": one} for one in ids])
    assert status == 202


def test_an_exporter_is_backed_up_and_brought_back(run: Run, exporter: Exporter) -> None:
    settings = {"FLEETPULSE_DATA_DIR": str(exporter.data_dir)}
    assert "no backups" in run("backup", "list", **settings).stdout
    send(exporter, "a", "b")
    made = run("backup", **settings)
    assert (made.returncode, made.stderr) == (0, "")
    file = Path(made.stdout.splitlines()[0])
    assert "2 requests" in made.stdout
    listed = run("backup", "list", **settings).stdout
    assert file.name in listed
    assert "right" in listed
    assert json.loads(run("backup", "list", "--json", **settings).stdout)[0]["rows"]["requests"] == 2
    verified = run("backup", "verify", file)
    assert (verified.returncode, "is sound" in verified.stdout) == (0, True)

    send(exporter, "c")
    refused = run("restore", file, "--yes", **settings)
    assert refused.returncode == 1
    assert "stop" in refused.stderr
    exporter.terminate()
    derived = sorted(path.name for path in exporter.data_dir.glob("*search*"))
    assert derived, "there is an index to go"
    asked = run("restore", file, **settings)
    assert asked.returncode == 1, "nobody said yes"
    restored = run("restore", file, "--yes", **settings)
    assert restored.returncode == 0
    assert "not in the backup: 1 requests" in restored.stderr
    for part in ("restored", "journal-replaced-", "new epoch", *derived):
        assert part in restored.stdout
    assert list(exporter.data_dir.glob("*search*")) == []
    exporter.start()
    assert [one["request_id"] for one in exporter.get("/api/requests")["requests"]] == ["b", "a"]


def test_without_an_exporter_it_works_as_well(run: Run, exporter: Exporter, tmp_path: Path) -> None:
    send(exporter, "a")
    exporter.kill()
    settings = {"FLEETPULSE_DATA_DIR": str(exporter.data_dir)}
    to_file = run("backup", "--to", tmp_path / "mine.db", "--json", **settings)
    assert json.loads(to_file.stdout)["rows"]["requests"] == 1
    again = run("backup", "--to", tmp_path / "mine.db", **settings)
    assert (again.returncode, "there already" in again.stderr) == (1, True)
    folder = tmp_path / "many"
    for _ in range(2):
        assert run("backup", "--to", folder, FLEETPULSE_BACKUP__KEEP="1", **settings).returncode == 0
    assert len(list(folder.glob("*.db"))) == 2, "elsewhere nothing is deleted"


def test_what_is_wrong_is_said_in_words(run: Run, tmp_path: Path) -> None:
    nothing = run("backup", FLEETPULSE_DATA_DIR=str(tmp_path / "none"))
    assert (nothing.returncode, "there is no journal" in nothing.stderr) == (1, True)
    text = tmp_path / "text.db"
    text.write_text("hello " * 1_000)
    for command in (("backup", "verify", text), ("restore", text, "--yes"), ("restore", tmp_path / "none.db")):
        said = run(*command)
        assert (said.returncode, "Traceback" in said.stderr, said.stderr[:12]) == (1, False, "fleetpulse: ")
    assert not (tmp_path / "client" / "data" / "journal.db").exists()


def test_books_that_are_wrong_are_a_failure_of_verifying(run: Run, exporter: Exporter, tmp_path: Path) -> None:
    send(exporter, "a")
    target = tmp_path / "mine.db"
    run("backup", "--to", target, FLEETPULSE_DATA_DIR=str(exporter.data_dir))
    target.with_suffix(".json").unlink()
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("UPDATE totals SET value = 7 WHERE metric = 'fleetpulse_requests_total'")
    said = run("backup", "verify", target)
    assert said.returncode == 1
    assert "fleetpulse_requests_total: 1 by the rows, 7 by the totals" in said.stderr
