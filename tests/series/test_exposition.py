"""Both text formats: read by prometheus-client's parsers and by promtool, and equal in what they say."""

import subprocess

import pytest
from tests.journal.stand import NOW, alert, request
from tests.series.page import OPENMETRICS, TEXT, Labels, Page, Scraped, read
from tests.tools import need_tool

from fleetpulse import catalogue
from fleetpulse.config import Thresholds
from fleetpulse.journal import ALERTS
from fleetpulse.series.agents import AgentSample

AWKWARD = ['a "quoted" source', "back\\slash", "群聊机器人", "trailing\\", "{}=,", "🤖", "'", "other"]


@pytest.fixture
def page() -> Page:
    page = Page()
    for number, source in enumerate(AWKWARD):
        page.take(
            request(f"r{number}", source=source, model=None, execution_time=number * 0.7, trace_id=f"t{number}"),
            request(f"s{number}", source=source, status="error", cost=None, cost_source="unknown"),
            duplicates=number,
        )
    page.take(alert("f1"), alert("f2", "resolved", alertname='名"\\'), table=ALERTS)
    page.agents.set("主池", 'agent "1"', "busy", AgentSample(1.0, 0.5, 0.25, 3.0, NOW))
    page.agents.set("主池", "agent\\2", "silent", AgentSample(0.0, None, None, None, NOW - 400.0))
    return page


def ours(scraped: Scraped) -> dict[tuple[str, Labels], float]:
    """What does not change from one scrape to the next: not what prometheus-client tells of the process."""
    return {key: value for key, value in scraped.values.items() if key[0].startswith("fleetpulse_")}


@pytest.mark.parametrize("accept", ["", "*/*", TEXT, "application/openmetrics-text;version=banana"])
def test_plain_text_is_the_default(page: Page, accept: str) -> None:
    assert page.scrape(accept).content_type.startswith("text/plain; version=0.0.4; charset=utf-8")


def test_openmetrics_is_given_to_those_who_ask(page: Page) -> None:
    scraped = page.scrape(OPENMETRICS)
    assert scraped.content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert scraped.body.endswith("# EOF\n")
    assert scraped.body.count("# EOF") == 1


def test_what_prometheus_3_asks_for_is_understood(page: Page) -> None:
    accept = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    scraped = page.scrape(accept)
    assert scraped.content_type.startswith("application/openmetrics-text")
    assert scraped.value("fleetpulse_requests_total", source="群聊机器人", model="none", status="success") == 1


def test_both_formats_say_the_same(page: Page) -> None:
    plain, rich = page.scrape(TEXT), page.scrape(OPENMETRICS)
    without_created = {key: value for key, value in ours(rich).items() if not key[0].endswith("_created")}
    assert without_created == ours(plain)
    assert len(without_created) > 100


def test_every_value_is_there(page: Page) -> None:
    scraped = page.scrape()
    for number, source in enumerate(AWKWARD):
        plain, priced = {"source": source, "model": "none"}, {"source": source, "model": "gpt-4o"}
        assert scraped.value("fleetpulse_requests_total", **plain, status="success") == 1
        assert scraped.value("fleetpulse_requests_total", **priced, status="error") == 1
        assert scraped.value("fleetpulse_tokens_total", **plain, kind="input") == 16
        assert scraped.value("fleetpulse_tokens_total", **plain, kind="cached") == 4
        assert scraped.value("fleetpulse_tokens_total", **plain, kind="output") == 10
        assert scraped.value("fleetpulse_tokens_total", **plain, kind="unattributed") == 0
        assert scraped.value("fleetpulse_cost_usd_total", **plain) == 0.25
        assert scraped.value("fleetpulse_cost_usd_total", **priced) == 0
        assert scraped.value("fleetpulse_unpriced_requests_total", **plain) == 0
        assert scraped.value("fleetpulse_unpriced_requests_total", **priced) == 1
        assert scraped.value("fleetpulse_request_duration_seconds_sum", **plain) == number * 0.7
    assert scraped.value("fleetpulse_ingest_signals_total", kind="request", outcome="stored") == 16
    assert scraped.value("fleetpulse_ingest_signals_total", kind="request", outcome="duplicate") == 28
    assert scraped.value("fleetpulse_ingest_signals_total", kind="alert", outcome="stored") == 2
    assert scraped.value("fleetpulse_alert_events_total", alertname='名"\\', status="resolved") == 1
    assert scraped.value("fleetpulse_agent_cpu_usage_ratio", pool_id="主池", agent_id='agent "1"') == 0.5
    budget = {"budget": "daily", "scope": "total", "target": "", "period": "day"}
    assert scraped.value("fleetpulse_budget_limit_usd", **budget) == 10
    assert scraped.value("fleetpulse_budget_spent_usd", **budget) == 2


def test_the_process_is_told_of(page: Page) -> None:
    assert page.scrape().value("process_resident_memory_bytes") > 0


def test_thresholds_and_build_are_shown() -> None:
    scraped = Page().scrape()
    for name, value in Thresholds().model_dump().items():
        assert scraped.value("fleetpulse_threshold", name=name) == value
    assert scraped.total("fleetpulse_build_info") == 1


def test_an_exporter_that_has_seen_nothing_is_readable_too() -> None:
    for accept in (TEXT, OPENMETRICS):
        assert Page().scrape(accept).value("fleetpulse_agents_over_limit") == 0


def test_promtool_finds_nothing_to_complain_about(page: Page) -> None:
    body, _ = page.exposition.render(TEXT)
    done = subprocess.run([need_tool("promtool"), "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode(), done.stdout) == (0, "", b"")


def test_types_and_helps_are_those_of_the_catalogue(page: Page) -> None:
    known = {metric.name.removesuffix("_total"): metric for metric in catalogue.METRICS}
    for name, family in page.scrape(OPENMETRICS).families.items():
        if not name.startswith("fleetpulse_"):
            continue
        assert family.type == known[name].kind, name
        assert family.documentation == known[name].help, name


def test_no_sample_is_labelled_otherwise_than_the_catalogue_says(page: Page) -> None:
    known = {metric.name.removesuffix("_total"): set(metric.labels) for metric in catalogue.METRICS}
    for name, family in page.scrape(OPENMETRICS).families.items():
        for sample in family.samples if name.startswith("fleetpulse_") else ():
            assert set(sample.labels) - {"le"} == known[name], sample


def test_the_spend_shown_is_of_the_period_at_the_scrape(page: Page) -> None:
    page.now = NOW + 86_400
    assert page.scrape().total("fleetpulse_budget_spent_usd") == 0
    page.take(request("tomorrow", cost=1.5, received_at=page.now))
    assert page.scrape().total("fleetpulse_budget_spent_usd") == 1.5
    page.now = NOW
    assert page.scrape().total("fleetpulse_budget_spent_usd") == 2


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_a_scrape_in_steps_is_sound_whatever_happens_between_them(page: Page, accept: str) -> None:
    for number in range(120):  # more children than one step takes
        page.take(request(f"before{number}", source="s", model=f"m{number}", status="error"))
    parts, content_type = page.exposition.parts(accept)
    body = []
    for number, part in enumerate(parts):
        body.append(part)
        page.take(request(f"between{number}", source=f"new{number}", model=None, execution_time=float(number)))
        page.agents.set("主池", f"new{number}", "busy", AgentSample(1.0, 0.5, 0.25, 3.0, NOW))
        page.agents.remove(f"new{number - 2}")
        page.agents.remove('agent "1"')
    assert len(body) > 10
    scraped = read(b"".join(body).decode(), content_type)
    assert scraped.value("fleetpulse_requests_total", source="群聊机器人", model="none", status="success") == 1
    for labels in scraped.labels("fleetpulse_request_duration_seconds_count"):
        count = scraped.value("fleetpulse_request_duration_seconds_count", **labels)
        assert scraped.value("fleetpulse_request_duration_seconds_bucket", **labels, le="+Inf") == count
