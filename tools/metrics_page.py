"""Prints docs/metrics.md from the catalogue (how: the page's first comment).

A test compares the page with what this prints, so a metric cannot be added without its line.
"""

import sys
from collections.abc import Iterable

from fleetpulse.catalogue import METRICS, PREFIX, Metric

PREFACE = """\
# Metrics

<!-- Generated: python tools/metrics_page.py > docs/metrics.md -->

What `GET /metrics` serves, in Prometheus' text format and in OpenMetrics. Units are base units: seconds, bytes,
USD, ratios from 0 to 1. Labels are bounded: past its cap ([limits](configuration.md#limits)) a value counts under
`other`, so that sums stay exact.

**Kept** series live in the journal, change in the same transaction as the rows behind them, and are restored at
start: they never reset. So what happened in a time range is a plain difference, to the last request:
`fleetpulse_requests_total - fleetpulse_requests_total offset 1d`. Series younger than the range count from 0;
[dashboards.md](dashboards.md#exact-and-estimated) says how the dashboards see to that. The others count since the
process started; read them with `rate()` and `increase()` as usual.
"""
# Families by the part of their names that follows the prefix; the first that fits takes a metric.
CHAPTERS = {
    "Request logs": ("request", "tokens", "cost", "unpriced", "priced", "active_users", "top_user"),
    "Budgets and thresholds": ("budget", "threshold"),
    "Agents": ("agent",),
    "Live feed": ("live",),
    "Journal": ("journal",),
    "Ingest, alerts and the service itself": ("",),
}


def page() -> str:
    """The whole page."""
    rest = list(METRICS)
    parts = [PREFACE]
    for title, beginnings in CHAPTERS.items():
        own = [metric for metric in rest if metric.name.removeprefix(PREFIX).startswith(beginnings)]
        rest = [metric for metric in rest if metric not in own]
        parts.append(chapter(title, own))
    return "\n".join(parts)


def chapter(title: str, metrics: Iterable[Metric]) -> str:
    """A heading and its table."""
    rows = [f"## {title}\n", "| metric | type | labels | kept | what it says |", "|---|---|---|---|---|"]
    rows += [row(metric) for metric in metrics]
    return "\n".join(rows) + "\n"


def row(metric: Metric) -> str:
    """A metric's line."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    text = metric.help.replace("|", "\\|")
    if metric.buckets:
        text += f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
    return f"| `{metric.name}` | {metric.kind} | {labels} | {'yes' if metric.durable else ''} | {text} |"


if __name__ == "__main__":
    sys.stdout.write(page())
