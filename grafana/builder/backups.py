"""The row about backups of the journal: how old and how large the newest is, and how often one is made."""

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from grafana.builder.frame import Line, Row
from grafana.builder.panels import Look, card, curves
from grafana.builder.promql import or_none, or_nothing, rate, select, total
from grafana.builder.queries import Query

NONE, NEVER = ("No backup", "orange"), ("Never", "text")


def backups() -> Row:
    """Of several exporters, each with a journal of its own, the one that is worst off counts."""
    taken = f"{select(catalogue.BACKUP_LAST_SUCCESS)} > 0"
    age = card(
        "Newest backup",
        "How long ago it was made; of several exporters the oldest. Twice too old is an alert.",
        or_none(f"time() - min({taken})"),
        Look("dtdurations", words={"-1": NONE}),
    )
    outcomes = curves(
        "Backups made and failed",
        "A second, by outcome.",
        [Query(or_nothing(rate(catalogue.BACKUPS, by=("outcome",))), "{{outcome}}", "range")],
        Look("none", limits=(0, None), by_threshold=False),
    )
    cards = (
        _largest("Size", "Of the newest backup; of several exporters the largest.", catalogue.BACKUP_SIZE, "bytes"),
        _largest("Duration", "How long the newest took to make.", catalogue.BACKUP_SECONDS, "s"),
        card(
            "Every",
            "How often one is made, as configured (backup.hours).",
            or_none(total(f"{select(catalogue.BACKUP_INTERVAL)} > 0", operator="max")),
            Look("dtdurations", words={"-1": NEVER}),
        ),
    )
    return Row("Backups", (Line(6, ((4, age), *((4, each) for each in cards), (8, outcomes))),))


def _largest(title: str, description: str, metric: Metric, unit: str) -> model.Panel:
    shown = or_none(total(f"{select(metric)} > 0", operator="max"))
    return card(title, description, shown, Look(unit, words={"-1": NONE}))
