"""Budgets, and the thresholds of alerts."""

from fleetpulse.catalogue.metric import metric

BUDGET_LIMIT = metric(
    "budget_limit_usd", "gauge", "Limit of each configured budget.", ("budget", "scope", "target", "period")
)
BUDGET_SPENT = metric(
    "budget_spent_usd",
    "gauge",
    "Exact spend in the budget's current period, which begins at midnight, Monday or the first in the configured "
    "time zone. A request counts when it is received.",
    ("budget", "scope", "target", "period"),
)
BUDGET_COST = metric(
    "budget_cost_usd_total",
    "counter",
    "Spend of the budget over all its periods: what a pace is measured by, across the turn of a period.",
    ("budget", "scope", "target", "period"),
)
BUDGET_CORRECTED = metric(
    "budget_corrected_usd_total",
    "counter",
    "Of the spend over all periods, what was added by pricing stored requests afterwards.",
    ("budget", "scope", "target", "period"),
)
BUDGET_UNPRICED = metric(
    "budget_unpriced_requests",
    "gauge",
    "Requests of the current period that the budget is of and that have no cost (yet): while there are any, the "
    "spend is a lower bound.",
    ("budget", "scope", "target", "period"),
)
BUDGET_PERIOD_START = metric(
    "budget_period_start_timestamp_seconds",
    "gauge",
    "When the budget's current period began.",
    ("budget", "scope", "target", "period"),
)
BUDGET_PERIOD_END = metric(
    "budget_period_end_timestamp_seconds",
    "gauge",
    "When the budget's current period ends.",
    ("budget", "scope", "target", "period"),
)
THRESHOLD = metric(
    "threshold",
    "gauge",
    "Configured alert thresholds, so that rules compare with configuration: error_rate, account_error_rate, "
    "cpu_warning, cpu_critical, memory_warning, memory_critical (ratios 0-1), heartbeat_silence_seconds, "
    "error_rate_min_requests, account_error_min_activities, account_idle_seconds, live_delivery_seconds.",
    ("name",),
)
