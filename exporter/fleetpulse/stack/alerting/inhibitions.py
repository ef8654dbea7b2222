"""Which alert keeps which other quiet: an alert that another one explains tells nobody anything.

Labels in `equal` that are missing on both sides count as equal, so each rule names alerts that always have them.
"""

from typing import Any

from fleetpulse.config.alerting import Alerting

# What an alert can be about. `alertname` is among them: without it, a critical alert would hide every warning.
THING = (
    "alertname", "job", "instance", "source", "model", "budget", "pool_id", "agent_id", "account_id", "stream",
    "rule", "team",
)  # fmt: skip


def inhibit_rules(settings: Alerting) -> list[dict[str, Any]]:
    """Fleetpulse's own rules, then those of the settings."""
    further = [_rule(rule.source, rule.target, *rule.equal) for rule in settings.inhibitions]
    return [*_own(), *([_lower_severity()] if settings.inhibit_lower_severity else ()), *further]


def _own() -> list[dict[str, Any]]:
    """About alerts of prometheus/rules, so in step with them."""
    period = ("job", "budget", "period_start")
    return [
        _rule(
            ('alertname = "BudgetAt100Percent"',),
            ('alertname =~ "BudgetAt80Percent|BudgetAt95Percent|BudgetForecastExceeded"',),
            *period,
        ),
        _rule(
            ('alertname = "BudgetAt95Percent"',),
            ('alertname =~ "BudgetAt80Percent|BudgetForecastExceeded"',),
            *period,
        ),
        _rule(('alertname = "ExporterDown"',), ('alert_type = "agent"',), "job"),
        _rule(('alertname = "ExporterDown"',), ('alertname = "AlertmanagerWebhookFailing"',)),
        _rule(
            ('alertname = "JournalNotWritable"',),
            ('alertname =~ "JournalQueueNearLimit|IngestRefusing|TapBehind"',),
            "job",
            "instance",
        ),
    ]


def _lower_severity() -> dict[str, Any]:
    """Notifications all have one alertname and are about nothing in common: they never hide each other."""
    source = ('severity = "critical"', 'alertname != "Notification"')
    return _rule(source, ('severity =~ "warning|info"',), *THING)


def _rule(source: tuple[str, ...], target: tuple[str, ...], *equal: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"source_matchers": list(source), "target_matchers": list(target)}
    return rule | ({"equal": list(equal)} if equal else {})
