"""Reports over HTTP: what they take and refuse, and that every form has the figures of the requests."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from tests.query.history import History, Journal, Logged, Remembering, Shown, every
from tests.reports.sink import Sink
from tests.system.harness import free_port, started
from tests.web.server import PROBLEM, Server, new_id

from fleetpulse.query.periods import KINDS, Kind, period_of
from fleetpulse.reports.layout import Format
from fleetpulse.web.reports import preferred

ZONE = ZoneInfo("Asia/Shanghai")
WEDNESDAY = date(2025, 3, 12)
SOURCES = ("web", "微信")
MODELS = ("gpt-4o", "none")


def logged() -> Iterator[Logged]:
    """From February on into March: a request every six hours, dearer from month to month."""
    start = datetime(2025, 1, 31, tzinfo=ZONE)
    for number in range(61 * 4):
        at = start + timedelta(hours=6 * number, minutes=5)
        failed = number % 5 == 0
        yield Logged(
            at.timestamp(),
            source=SOURCES[number % 2],
            model=MODELS[number % 2],
            status="timeout" if failed else "success",
            cost=None if number % 7 == 0 else 0.125 * at.month,
            seconds=float(number % 4),
        )


LOGGED = sorted(logged())
BEGIN, END = LOGGED[0].at - 3_600, LOGGED[-1].at + 3_600


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remembering]:
    """A Prometheus that remembers two months."""
    shown = Shown("a:1", Journal(list(LOGGED)), every(290.0, BEGIN, END))
    yield from started(History([shown], created=False).program(tmp_path_factory.mktemp("past") / "prometheus"))


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as made:
        yield made


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, past: Remembering, sink: Sink) -> Iterator[Server]:
    """An exporter that asks it, and knows a mail server."""
    settings = {
        "STACK__PROMETHEUS_INTERNAL_URL": past.url,
        "TIMEZONE": ZONE.key,
        "REPORTS__LANG": "zh",
        "REPORTS__SMTP_HOST": "127.0.0.1",
        "REPORTS__SMTP_PORT": str(sink.port),
        "REPORTS__SMTP_SECURITY": "none",
        "REPORTS__SENDER": "Fleetpulse <reports@example.com>",
        "REPORTS__RECIPIENTS": '["a@example.com"]',
    }
    named = {f"FLEETPULSE_{name}": value for name, value in settings.items()}
    yield from started(Server(tmp_path_factory.mktemp("asked"), **named))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with nobody behind it."""
    away = {"FLEETPULSE_STACK__PROMETHEUS_PORT": str(free_port())}
    yield from started(Server(tmp_path_factory.mktemp("alone"), **away))


def report(asked: Server, kind: Kind, query: str = "") -> dict[str, Any]:
    answer = asked.ask(f"/api/report/{kind}?date={WEDNESDAY}{query}")
    assert answer.status == 200, answer
    document: dict[str, Any] = answer.json
    return document


def within(kind: Kind, *, before: bool = False, source: str | None = None) -> list[Logged]:
    period = period_of(kind, WEDNESDAY, ZONE)
    period = period.before() if before else period
    start, end = period.start.timestamp(), period.end.timestamp()
    return [each for each in LOGGED if start <= each.at < end and source in (None, each.source)]


def cost(requests: list[Logged]) -> float:
    return sum(each.cost or 0.0 for each in requests)


# Figures ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_those_of_the_requests(asked: Server, kind: Kind) -> None:
    found, wanted, before = report(asked, kind), within(kind), within(kind, before=True)
    assert len(wanted) >= 4
    totals = found["totals"]
    assert totals["total_requests"] == len(wanted)
    assert totals["failed_requests"] == sum(each.status != "success" for each in wanted)
    assert totals["total_cost"] == pytest.approx(cost(wanted), abs=1e-9)
    assert totals["unpriced_requests"] == sum(each.cost is None for each in wanted)
    assert totals["total_tokens"] == 19 * len(wanted)
    assert totals["avg_execution_time"] == pytest.approx(sum(each.seconds for each in wanted) / len(wanted))
    changes = found["previous"]["changes"]["total_cost"]
    assert found["previous"]["totals"]["total_cost"] == pytest.approx(cost(before), abs=1e-9)
    assert changes["absolute"] == pytest.approx(cost(wanted) - cost(before), abs=1e-9)
    assert changes["ratio"] == pytest.approx(cost(wanted) / cost(before) - 1)
    assert found["complete"] is True
    assert found["previous"]["partial"] is False
    assert found["covered"]["complete"] is True
    assert found["unpriced"] == unpriced(wanted)


def unpriced(requests: list[Logged]) -> list[dict[str, Any]]:
    counts = {model: sum(each.model == model and each.cost is None for each in requests) for model in MODELS}
    some = sorted((-count, model) for model, count in counts.items() if count)
    return [{"model": model, "requests": -count} for count, model in some]


@pytest.mark.parametrize("kind", KINDS)
def test_every_breakdown_adds_up(asked: Server, kind: Kind) -> None:
    found = report(asked, kind)
    totals = found["totals"]
    for groups in (found["by_source"], found["by_model"]):
        for name in ("total_requests", "failed_requests", "total_tokens", "unpriced_requests"):
            assert sum(each[name] for each in groups) == totals[name]
        assert sum(each["total_cost"] for each in groups) == pytest.approx(totals["total_cost"], abs=1e-9)
        assert groups == sorted(groups, key=lambda each: -each["total_cost"])
        told = sum(each["previous_total_cost"] for each in groups)
        assert told == pytest.approx(found["previous"]["totals"]["total_cost"], abs=1e-9)
    assert sum(each["requests"] for each in found["by_status"]) == totals["total_requests"]
    points = found["series"]["points"]
    assert sum(each["cost"] for each in points) == pytest.approx(totals["total_cost"], abs=1e-9)
    assert sum(each["requests"] for each in points) == totals["total_requests"]
    assert len(points) == {"daily": 24, "weekly": 7, "monthly": 31}[kind]
    assert points[0]["local"].startswith(found["first_day"])


def test_it_says_what_the_statistics_say(asked: Server) -> None:
    period = period_of("monthly", WEDNESDAY, ZONE)
    window = f"start={quote(period.start.isoformat())}&end={quote(period.end.isoformat())}"
    metrics, found = asked.ask(f"/api/metrics?{window}").json, report(asked, "monthly")
    assert found["totals"] == {name: metrics[name] for name in found["totals"]}
    assert {each["source"]: each["total_cost"] for each in found["by_source"]} == {
        each["source"]: each["total_cost"] for each in metrics["by_source"]
    }


def test_of_one_source(asked: Server) -> None:
    found = report(asked, "weekly", f"&source={quote('微信')}")
    assert found["totals"]["total_cost"] == pytest.approx(cost(within("weekly", source="微信")), abs=1e-9)
    assert [each["source"] for each in found["by_source"]] == ["微信"]
    assert found["budgets"] == []


# Forms --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_has_the_same_sums(asked: Server, kind: Kind) -> None:
    where = f"/api/report/{kind}?date={WEDNESDAY}&format="
    wanted = cost(within(kind))
    document = asked.ask(f"{where}json").json
    assert document["totals"]["total_cost"] == pytest.approx(wanted, abs=1e-9)
    table = asked.ask(f"{where}csv").body.decode("utf-8-sig")
    lines = [each for each in csv.DictReader(io.StringIO(table)) if each["metric"] == "total_cost"]
    by_source = sum(float(each["value"]) for each in lines if each["section"] == "by_source")
    assert by_source == pytest.approx(wanted, abs=1e-9)
    page = asked.ask(f"{where}html").body.decode()
    (card,) = re.findall(r'data-figure="total_cost">.*?<data value="([^"]+)">', page, re.DOTALL)
    assert float(card) == document["totals"]["total_cost"]
    markdown = asked.ask(f"{where}md&lang=en").body.decode()
    (shown,) = re.findall(r"^\| Cost \| \$([0-9.,]+) \|", markdown, re.MULTILINE)
    assert float(shown.replace(",", "")) == pytest.approx(wanted, abs=0.005)


@pytest.mark.parametrize(
    ("form", "media", "disposition"),
    [
        ("json", "application/json", 'inline; filename="fleetpulse-daily-2025-03-12.json"'),
        ("md", "text/markdown", 'attachment; filename="fleetpulse-daily-2025-03-12.md"'),
        ("csv", "text/csv", 'attachment; filename="fleetpulse-daily-2025-03-12.csv"'),
        ("html", "text/html", 'inline; filename="fleetpulse-daily-2025-03-12.html"'),
    ],
)
def test_forms_are_named(asked: Server, form: Format, media: str, disposition: str) -> None:
    answer = asked.ask(f"/api/report/daily?date={WEDNESDAY}&format={form}")
    assert answer.headers.get_content_type() == media
    assert answer.headers.get_content_charset("utf-8") == "utf-8"
    assert answer.headers["Content-Disposition"] == disposition
    assert (answer.headers["Content-Security-Policy"] is not None) == (form == "html")


def test_browsers_get_the_page_and_the_language_is_the_configured_one(asked: Server) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = asked.ask(f"/api/report/daily?date={WEDNESDAY}", Accept=accept)
    assert answer.headers.get_content_type() == "text/html"
    assert "<h1>日报</h1>" in answer.body.decode()
    english = asked.ask(f"/api/report/daily?date={WEDNESDAY}&lang=en", Accept=accept)
    assert "<h1>Daily report</h1>" in english.body.decode()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html", "html"),
        ("application/json, text/html;q=0.9", "json"),
        ("text/html;q=0.5, text/csv", "csv"),
        ("TEXT/MARKDOWN", "md"),
        ("text/html;q=0", "json"),
        ("text/html;q=much", "json"),
        ("image/png", "json"),
    ],
)
def test_what_accept_prefers(accept: str, form: Format) -> None:
    assert preferred(accept) == form


# Which one ----------------------------------------------------------------------------------------------------
def test_without_a_date_it_is_the_one_under_way(asked: Server) -> None:
    current = asked.ask("/api/report/monthly").json
    previous = asked.ask("/api/report/monthly?period=previous").json
    today = datetime.now(ZONE).date()
    assert current["first_day"] == today.replace(day=1).isoformat()
    assert (current["complete"], previous["complete"]) == (False, True)
    assert previous["end"] == current["start"]
    assert current["previous"]["partial"] is True
    assert current["covered"]["start"] is None
    assert current["previous"]["changes"] is None


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("date=2025-02-30", "date"),
        ("date=1999-12-31", "date"),
        ("date=9999-12-31", "date"),
        ("date=1741737600", "date"),
        ("date=2025-03-12T00:00:00", "date"),
        ("date=2025-03-12&period=previous", "period"),
        ("period=next", "period"),
        ("format=pdf", "format"),
        ("lang=de", "lang"),
        ("source=", "source"),
        ("day=2025-03-12", "day"),
        ("format=csv&format=md", "format"),
    ],
)
def test_what_does_not_fit_is_named(asked: Server, query: str, name: str) -> None:
    problem = asked.ask(f"/api/report/daily?{query}").problem(422, "invalid-input")
    assert {error["loc"][1] for error in problem["errors"]} == {name}


def test_another_report_is_not_there(asked: Server) -> None:
    problem = asked.ask("/api/report/yearly").problem(404, "not-found")
    assert "daily, weekly, monthly" in problem["detail"]


def test_without_prometheus_it_says_so(alone: Server) -> None:
    answer = alone.ask("/api/report/daily?format=html")
    assert "Prometheus" in answer.problem(503, "upstream")["detail"]
    assert int(answer.headers["Retry-After"]) >= 1


# By e-mail ----------------------------------------------------------------------------------------------------
def test_it_is_sent_to_whom_is_configured(asked: Server, sink: Sink) -> None:
    answer = asked.give(f"/api/report/weekly/send?date={WEDNESDAY}", None)
    assert answer.json == {
        "report": "weekly",
        "first_day": "2025-03-10",
        "last_day": "2025-03-16",
        "recipients": 1,
        "refused": [],
    }
    message = sink.received[-1].message
    assert "周报" in message["Subject"]
    assert f"${cost(within('weekly')):,.2f}" in message["Subject"]
    attached = {str(each.get_filename()): each.get_content() for each in message.iter_attachments()}
    table = attached["fleetpulse-weekly-2025-03-10.csv"].removeprefix("\ufeff")
    values = {
        each["metric"]: each["value"] for each in csv.DictReader(io.StringIO(table)) if each["section"] == "totals"
    }
    assert float(values["total_cost"]) == pytest.approx(cost(within("weekly")), abs=1e-9)
    assert "<svg" in attached["fleetpulse-weekly-2025-03-10.html"]


def test_a_mail_server_that_refuses_is_told(asked: Server, sink: Sink) -> None:
    sink.behaviour.answers.append("452 4.3.1 no room")
    problem = asked.give(f"/api/report/daily/send?date={WEDNESDAY}", None).problem(503, "upstream")
    assert "no room" in problem["detail"]


def test_without_settings_nothing_is_sent(server: Server) -> None:
    answer = server.give("/api/report/daily/send", {"recipients": ["thief@example.com"]})
    assert answer.status in {422, 503}
    assert answer.headers.get_content_type() == PROBLEM


# Top errors, alerts and budgets of now --------------------------------------------------------------------------
def test_the_journal_adds_errors_alerts_and_budgets(asked: Server) -> None:
    rows = [
        {
            "request_id": new_id(),
            "source": "web",
            "status": "timeout",
            "execution_time": 1,
            "error": f"took {number} s",
            "cost": 0.5,
        }
        for number in range(4)
    ]
    assert asked.give("/api/log-request", rows).status == 202
    alert = {"alertname": "Trial", "severity": "warning"}
    notification = {"status": "firing", "labels": alert, "startsAt": "2025-01-07T10:30:00Z", "fingerprint": "f00d"}
    assert asked.give("/api/v1/alerts/webhook", {"version": "4", "alerts": [notification]}).status == 202
    found = asked.ask("/api/report/daily").json
    (kind,) = found["errors"]["top"]
    assert (kind["requests"], kind["texts"], kind["status"]) == (4, 4, "timeout")
    assert found["alerts"]["by_name"] == [{"alertname": "Trial", "severity": "warning", "times": 1}]
    (budget,) = found["budgets"]
    assert budget["spent"] == 2.0
    assert (
        budget["spent"]
        == asked.metrics()['fleetpulse_budget_spent_usd{budget="daily",scope="total",target="",period="day"}']
    )
