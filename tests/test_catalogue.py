"""The catalogue keeps Prometheus' conventions and its own promises, and has no metric that nobody sets."""

import re

import pytest
from tests.tools import ROOT

from fleetpulse import catalogue
from fleetpulse.catalogue import METRICS, PREFIX, Metric

SOURCE = ROOT / "exporter" / "fleetpulse"
UNBOUNDED = {
    "user_id",
    "request_id",
    "task_id",
    "session_id",
    "trace_id",
    "fingerprint",
    "command",
    "error",
    "path",
}
NOT_BASE_UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|percent|kb|mb|kib|mib|cents)(_|$)")
EACH = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
NAMES = {metric.name for metric in METRICS}
# The heaviest few, see limits.top_users and tap.top_users.
NAMED_USERS = (catalogue.TOP_USER_REQUESTS, catalogue.TOP_USER_COST, catalogue.TAP_TOP_USERS)


def test_names_are_distinct() -> None:
    assert len(NAMES) == len(METRICS)


@EACH
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"fleetpulse_[a-z][a-z0-9_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not NOT_BASE_UNITS.search(metric.name)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created", "_info_total"))


@EACH
def test_no_name_collides_with_the_samples_of_another(metric: Metric) -> None:
    if metric.kind == "histogram":
        assert NAMES.isdisjoint({f"{metric.name}{part}" for part in ("_bucket", "_count", "_sum", "_created")})
    if metric.kind == "counter":
        family = metric.name.removesuffix("_total")
        assert NAMES.isdisjoint({family, f"{family}_created"}), "OpenMetrics names the family without _total"


@EACH
def test_helps_are_sentences(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert "\n" not in metric.help
    assert '"' not in metric.help, "the two text formats escape it differently"


@EACH
def test_labels_are_names_and_bounded(metric: Metric) -> None:
    assert all(re.fullmatch(r"[a-z][a-z_]*", label) for label in metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)
    allowed = {"user_id"} if metric in NAMED_USERS else set()
    assert UNBOUNDED.isdisjoint(set(metric.labels) - allowed)
    assert "le" not in metric.labels


@EACH
def test_buckets_grow_and_belong_to_histograms(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


@EACH
def test_only_what_adds_up_is_durable(metric: Metric) -> None:
    assert not metric.durable or metric.kind in ("counter", "histogram")


def test_latency_buckets_have_the_bounds_of_the_dashboard() -> None:
    assert {1.0, 2.0, 3.0, 5.0} <= set(catalogue.REQUEST_DURATION.buckets)


def test_every_metric_is_used_by_the_exporter() -> None:
    constants = {name: value for name, value in vars(catalogue).items() if isinstance(value, Metric)}
    files = [path for path in SOURCE.rglob("*.py") if path.parent.name != "catalogue"]
    used = set(re.findall(r"catalogue\.([A-Z_]+)", "\n".join(path.read_text("utf-8") for path in files)))
    assert {name for name in constants if name not in used} == set()
    assert set(constants.values()) == set(METRICS)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("requests_total", ("source", "model", "status")),
        ("request_duration_seconds", ("source", "model")),
        ("tokens_total", ("source", "model", "kind")),
        ("cost_usd_total", ("source", "model")),
        ("unpriced_requests_total", ("source", "model")),
        ("budget_limit_usd", ("budget", "scope", "target", "period")),
        ("budget_spent_usd", ("budget", "scope", "target", "period")),
        ("threshold", ("name",)),
        ("agent_up", ("pool_id", "agent_id")),
        ("agent_cpu_usage_ratio", ("pool_id", "agent_id")),
        ("agent_memory_usage_ratio", ("pool_id", "agent_id")),
        ("agent_running_tasks", ("pool_id", "agent_id")),
        ("agent_last_heartbeat_timestamp_seconds", ("pool_id", "agent_id")),
        ("agent_status", ("pool_id", "agent_id", "status")),
        ("live_connections", ("endpoint",)),
        ("live_evictions_total", ("reason",)),
        ("live_publish_delay_seconds", ("topic",)),
        ("ingest_signals_total", ("kind", "outcome")),
        ("build_info", ("version", "python")),
    ],
)
def test_what_dashboards_and_users_rely_on_stays(name: str, labels: tuple[str, ...]) -> None:
    assert {metric.name: metric.labels for metric in METRICS}[PREFIX + name] == labels
