"""Reports of a real exporter with a real Prometheus: the command line, every form, and e-mail on schedule."""

import csv
import io
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.reports.sink import Sink
from tests.system.harness import Exporter, Stack, clean_environment, free_port, get, started, wait_for
from tests.web.browser import browse

COST = 0.125
LOGS = [
    {
        "request_id": f"report-{number}",
        "source": ("telegram", "微信", "web")[number % 3],
        "user_id": f"u{number % 5}",
        "status": "success" if number % 6 else "timeout",
        "error": None if number % 6 else f"upstream took {number} s",
        "execution_time": 0.5,
        "model": ("gpt-4o", "claude-sonnet-4-5")[number % 2],
        "tokens_used": 100,
        "cost": COST * (1 + number % 4),
    }
    for number in range(120)
]
TOTAL = sum(float(str(log["cost"])) for log in LOGS)


def report(*arguments: str | Path, url: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs `fleetpulse report`."""
    return subprocess.run(
        [sys.executable, "-m", "fleetpulse", "report", *map(str, arguments)],
        cwd=folder,
        env=clean_environment(FLEETPULSE_URL=url, COLUMNS="200"),
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as made:
        yield made


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Stack]:
    """A stack that was sent LOGS, and whose Prometheus has them."""
    folder = tmp_path_factory.mktemp("fed")
    stack = Stack(folder, **mail(sink), FLEETPULSE_TIMEZONE="Europe/Berlin")
    for _ in started(stack):
        wait_for(lambda: stack.value('up{job="fleetpulse"}'), what="a scrape")
        assert stack.exporter.post("/api/log-request", LOGS)[0] == 202
        wait_for(lambda: today(stack)["totals"]["total_requests"] == len(LOGS), what="the figures")
        yield stack


def mail(sink: Sink, **more: str) -> dict[str, str]:
    settings = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(sink.port),
        "SMTP_SECURITY": "none",
        "SENDER": "reports@example.com",
        "RECIPIENTS": '["a@example.com", "B <b@example.com>"]',
    }
    return {f"FLEETPULSE_REPORTS__{name}": value for name, value in (settings | more).items()}


def today(stack: Stack) -> dict[str, Any]:
    document: dict[str, Any] = stack.exporter.get("/api/report/daily")
    return document


# One truth ----------------------------------------------------------------------------------------------------
def test_report_statistics_rows_and_budget_agree(fed: Stack) -> None:
    found = today(fed)
    assert found["totals"]["total_cost"] == pytest.approx(TOTAL, abs=1e-9)
    assert found["totals"]["total_cost"] == pytest.approx(fed.exporter.get("/api/metrics")["total_cost"], abs=1e-9)
    budget = fed.exporter.metrics()[
        'fleetpulse_budget_spent_usd{budget="daily",scope="total",target="",period="day"}'
    ]
    assert found["budgets"][0]["spent"] == budget == pytest.approx(TOTAL, abs=1e-9)
    assert found["budgets"][0]["state"] == "exceeded"
    with closing(sqlite3.connect(fed.exporter.data_dir / "journal.db")) as journal:
        ((rows,),) = journal.execute("SELECT total(cost) FROM requests").fetchall()
    assert found["totals"]["total_cost"] == pytest.approx(rows, abs=1e-9)
    (kind,) = found["errors"]["top"]
    assert (kind["requests"], kind["texts"]) == (20, 20)
    assert found["errors"]["total"] == 20


def test_every_form_says_it(fed: Stack) -> None:
    forms = {form: get(f"{fed.exporter_url}/api/report/daily?format={form}") for form in ("md", "html", "csv")}
    rows = list(csv.DictReader(io.StringIO(forms["csv"].removeprefix("\ufeff"))))
    by_source = [row for row in rows if (row["section"], row["metric"]) == ("by_source", "total_cost")]
    assert sum(float(row["value"]) for row in by_source) == pytest.approx(TOTAL, abs=1e-9)
    (card,) = re.findall(r'data-figure="total_cost">.*?<data value="([^"]+)"', forms["html"], re.DOTALL)
    assert float(card) == pytest.approx(TOTAL, abs=1e-9)
    assert f"| Cost | ${TOTAL:,.2f} |" in forms["md"]


def test_the_page_works_in_a_browser_as_it_is_served(fed: Stack, tmp_path: Path) -> None:
    where = f"{fed.exporter_url}/api/report/daily"
    with browse(tmp_path) as tab:
        tab.open(where)
        assert tab.until("document.querySelectorAll('figure').length") == 4
        assert f"${TOTAL:,.2f}" in tab.evaluate("document.body.innerText")
        assert {each for each in tab.requests if not each.startswith(("data:", "about:"))} == {where}
        assert tab.complaints == []


# The command line ---------------------------------------------------------------------------------------------
def test_the_command_writes_what_the_exporter_makes(fed: Stack, tmp_path: Path) -> None:
    said = report("daily", url=fed.exporter_url, folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout.decode().startswith("# Daily report\n")
    for ending, begin in (("html", "<!doctype html>"), ("csv", "\ufeffsection,"), ("json", "{"), ("md", "# ")):
        path = tmp_path / f"report.{ending}"
        assert report("weekly", "-o", path, url=fed.exporter_url, folder=tmp_path).returncode == 0
        assert path.read_text("utf-8").startswith(begin)
    assert json.loads((tmp_path / "report.json").read_text())["totals"]["total_cost"] == pytest.approx(TOTAL)


def test_the_command_chooses(fed: Stack, tmp_path: Path) -> None:
    options = ("--source", "微信", "--lang", "zh", "--format", "md")
    said = report("monthly", *options, url=fed.exporter_url, folder=tmp_path).stdout.decode()
    assert said.startswith("# 月报, 仅来源 微信\n")
    said = report("daily", "--date", "2025-01-31", url=fed.exporter_url, folder=tmp_path).stdout.decode()
    assert "Friday, 31 January 2025" in said
    said = report("daily", "--period", "previous", url=fed.exporter_url, folder=tmp_path).stdout.decode()
    assert "Nothing was recorded." in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("yearly",), 2, "yearly"),
        (("daily", "--date", "tomorrow"), 2, "tomorrow"),
        (("daily", "--date", "2999-01-01"), 2, "lies in the future"),
        (("daily", "--date", "2025-01-01", "--period", "previous"), 2, "cannot go with date"),
        (("daily", "--output", "no/such/folder.md"), 2, "no/such/folder.md"),
        (("daily", "--send", "--format", "csv"), 2, "--send goes without"),
    ],
)
def test_what_is_wrong_is_said(
    fed: Stack, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = report(*arguments, url=fed.exporter_url, folder=tmp_path)
    assert said.returncode == code
    assert words in said.stderr.decode()
    assert "Traceback" not in said.stderr.decode()
    assert said.stdout == b""


def test_an_exporter_or_a_prometheus_that_is_away_is_said(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    said = report("daily", url=nowhere, folder=tmp_path)
    assert said.returncode == 1
    assert nowhere in said.stderr.decode()
    away = {"FLEETPULSE_STACK__PROMETHEUS_PORT": str(free_port())}
    for exporter in started(Exporter(tmp_path / "alone", **away)):
        said = report("daily", url=exporter.url, folder=tmp_path)
        assert said.returncode == 1
        assert "Prometheus" in said.stderr.decode()


# By e-mail ----------------------------------------------------------------------------------------------------
def test_the_command_sends(fed: Stack, sink: Sink, tmp_path: Path) -> None:
    said = report("daily", "--send", url=fed.exporter_url, folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "is sent to 2 recipients" in said.stdout.decode()
    received = sink.received[-1]
    assert received.recipients == ["a@example.com", "b@example.com"]
    assert f"${TOTAL:,.2f}" in received.message["Subject"]

    sink.behaviour.refused.add("b@example.com")
    said = report("daily", "--send", url=fed.exporter_url, folder=tmp_path)
    sink.behaviour.refused.clear()
    assert said.returncode == 1
    assert "refused b@example.com" in said.stderr.decode()

    sink.behaviour.answers.append("451 4.7.1 come back later")
    said = report("daily", "--send", url=fed.exporter_url, folder=tmp_path)
    assert said.returncode == 1
    assert "come back later" in said.stderr.decode()


def test_the_schedule_survives_restarts(tmp_path: Path, fed: Stack) -> None:
    """Once a day, however often it is started; what was missed is sent at the next start."""
    with Sink() as own:
        settings = mail(own, DAILY_AT="00:00") | {"FLEETPULSE_STACK__PROMETHEUS_URL": fed.prometheus_url}
        exporter = Exporter(tmp_path / "scheduled", **settings)
        try:
            exporter.start()
            wait_for(lambda: noted(exporter), what="the schedule's note")
            exporter.terminate()
            assert own.received == [], "what was due before the schedule was set is not sent"

            turn_back(exporter)
            exporter.start()
            sent = 'fleetpulse_report_mails_total{outcome="sent",report="daily"}'
            wait_for(lambda: exporter.metrics()[sent] == 1, what="the report that was missed")
            samples = exporter.metrics()
            due = samples['fleetpulse_report_due_timestamp_seconds{report="daily"}']
            success = samples['fleetpulse_report_last_success_timestamp_seconds{report="daily"}']
            assert due <= success
            exporter.kill()

            exporter.start()
            again = 'fleetpulse_report_last_success_timestamp_seconds{report="daily"}'
            wait_for(lambda: exporter.metrics().get(again) == pytest.approx(success), what="what it remembers")
            exporter.terminate()
            assert len(own.received) == 1
            day = (datetime.fromtimestamp(due, UTC) - timedelta(days=1)).date()
            assert f".{day}." in own.received[0].message["Message-ID"]
        finally:
            exporter.stop()


def noted(exporter: Exporter) -> Any:
    with closing(sqlite3.connect(exporter.data_dir / "journal.db")) as journal:
        rows = journal.execute("SELECT value FROM notes WHERE name = 'reports'").fetchall()
    return json.loads(rows[0][0]) if rows else None


def turn_back(exporter: Exporter) -> None:
    """As if it had been down since the day before."""
    note = noted(exporter)
    period = datetime.fromisoformat(note["sent"]["daily"]["period"]) - timedelta(days=1)
    note["sent"]["daily"]["period"] = f"{period:%Y-%m-%d}"
    with closing(sqlite3.connect(exporter.data_dir / "journal.db")) as journal:
        journal.execute("UPDATE notes SET value = ? WHERE name = 'reports'", (json.dumps(note).encode(),))
        journal.commit()
