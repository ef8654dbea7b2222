"""What the dashboards ask is PromQL, and exact where they say so; real promtool is the judge, without a server."""

from pathlib import Path
from typing import Any

import yaml
from grafana.builder.promql import growth, or_zero, step_growth
from tests.grafana.queries import asked, interpolate
from tests.tools import run

from fleetpulse import catalogue

EVERYTHING = {"job": ".+", "instance": ".+", "source": ".*", "model": ".*", "pool": ".*", "top": "20"}
LABELS = 'job="fleetpulse", instance="a"'


def test_every_query_parses(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": each.expr} for number, each in enumerate(asked())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert len(rules) > 40
    run("promtool", "check", "rules", path)


def test_every_query_parses_with_a_chosen_source_and_pool(tmp_path: Path) -> None:
    chosen = asked(source="web|telegram", model="gpt-4o", pool="default")
    rules = [{"record": f"query:{number}", "expr": each.expr} for number, each in enumerate(chosen)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    run("promtool", "check", "rules", path)


def requests(source: str, values: str) -> dict[str, str]:
    name = f'{catalogue.REQUESTS.name}{{{LABELS}, source="{source}", model="m", status="success"}}'
    return {"series": name, "values": values}


def up(values: str) -> list[dict[str, str]]:
    """The exporter is scraped (1), or not (`_`)."""
    return [
        {"series": f"up{{{LABELS}}}", "values": values},
        {"series": f"{catalogue.BUILD_INFO.name}{{{LABELS}}}", "values": values},
    ]


def expect(folder: Path, series: list[dict[str, str]], expr: str, at: str, samples: dict[str, float]) -> None:
    """Asks one query of series that have a value a minute; `samples` is what it must give, by labels."""
    expected: list[dict[str, Any]] = [{"labels": labels, "value": value} for labels, value in samples.items()]
    question = {"expr": expr, "eval_time": at, "exp_samples": expected}
    later = {"expr": "vector(1)", "eval_time": "30d", "exp_samples": [{"labels": "{}", "value": 1}]}
    # promtool loads series up to the last question, but a step reaches past its time.
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [question, later]}
    path = folder / "exact.yml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    run("promtool", "test", "rules", path)


def over(expr: str, range_: str = "1h", step: str = "1h") -> str:
    return interpolate(expr, {**EVERYTHING, "__range": range_, "__interval": step})


BY_SOURCE = growth(catalogue.REQUESTS, by=("source",))
BY_STEP = step_growth(catalogue.REQUESTS, by=("source",))


def test_growth_is_the_difference_of_two_samples(tmp_path: Path) -> None:
    series = [*up("1x300"), requests("web", "100x120 100+3x60 280x120")]
    expect(tmp_path, series, over(BY_SOURCE, "2h"), "4h", {'{source="web"}': 180})


def test_growth_counts_what_a_new_series_starts_with(tmp_path: Path) -> None:
    series = [*up("1x300"), requests("web", "100x300"), requests("new", "_x230 7x60")]
    expect(tmp_path, series, over(BY_SOURCE), "4h", {'{source="web"}': 0, '{source="new"}': 7})


def test_growth_bridges_a_weekend_without_the_exporter(tmp_path: Path) -> None:
    gap = 63 * 60  # Friday evening to Monday morning
    series = [*up(f"1x60 _x{gap} 1x60"), requests("web", f"5000x60 _x{gap} 5040x60")]
    expect(tmp_path, series, over(BY_SOURCE, "24h"), f"{gap + 90}m", {'{source="web"}': 40})


def test_growth_stays_known_while_the_exporter_restarts(tmp_path: Path) -> None:
    series = [*up("1x200 stale"), requests("web", "0+1x200 stale _x30")]
    expect(tmp_path, series, over(BY_SOURCE, "2h"), "210m", {'{source="web"}': 110})


def test_growth_after_the_journal_was_taken_away_is_not_negative(tmp_path: Path) -> None:
    series = [*up("1x300"), requests("web", "900x200 12x100")]
    expect(tmp_path, series, over(BY_SOURCE, "2h"), "5h", {'{source="web"}': 12})


def test_a_total_of_nothing_is_zero_while_the_exporter_is_there(tmp_path: Path) -> None:
    expect(tmp_path, up("1x30"), over(or_zero(growth(catalogue.REQUESTS))), "20m", {"{}": 0})


def test_a_total_without_an_exporter_is_no_data(tmp_path: Path) -> None:
    series = [*up("1x30"), requests("web", "5x30")]
    expect(tmp_path, series, over(or_zero(growth(catalogue.REQUESTS))), "3h", {})


def test_a_step_is_what_came_after_its_beginning(tmp_path: Path) -> None:
    series = [*up("1x300"), requests("web", "100x60 100+2x60 220x180")]
    expect(tmp_path, series, over(BY_STEP), "1h", {'{source="web"}': 118})
    expect(tmp_path, series, over(BY_STEP), "2h", {'{source="web"}': 2})


def test_the_last_step_is_what_came_so_far(tmp_path: Path) -> None:
    series = [*up("1x130"), requests("web", "0+1x130")]
    expect(tmp_path, series, over(BY_STEP), "2h", {'{source="web"}': 10})


def test_a_step_counts_what_a_new_series_starts_with(tmp_path: Path) -> None:
    series = [*up("1x120"), requests("new", "_x80 50x40")]
    expect(tmp_path, series, over(BY_STEP), "1h", {'{source="new"}': 50})


def test_what_came_before_the_first_scrape_of_all_counts(tmp_path: Path) -> None:
    series = [*up("_x80 1x40"), requests("web", "_x80 9000x20 9005x20")]
    expect(tmp_path, series, over(BY_STEP), "1h", {'{source="web"}': 9005})


def test_steps_after_a_long_gap_show_no_spike(tmp_path: Path) -> None:
    gap = 5 * 24 * 60
    series = [*up(f"1x60 _x{gap} 1x90"), requests("web", f"5000x60 _x{gap} 5000x30 5008x60")]
    expect(tmp_path, series, over(BY_STEP), f"{gap + 60}m", {'{source="web"}': 8})


def test_steps_within_a_day_bridge_an_outage_exactly(tmp_path: Path) -> None:
    gap = 10 * 60
    series = [*up(f"1x60 _x{gap} 1x60"), requests("web", f"5000x60 _x{gap} 5300x60")]
    expect(tmp_path, series, over(BY_STEP), f"{gap + 60}m", {'{source="web"}': 300})
