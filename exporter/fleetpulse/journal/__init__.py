"""The journal: SQLite, one writer thread with group commit, persisted totals in the same transaction."""

from fleetpulse.journal.journal import ALERTS, REQUESTS, Journal
from fleetpulse.journal.retention import Retention
from fleetpulse.journal.rows import AlertRow, RequestRow, Row, Table, rfc3339
from fleetpulse.journal.spending import spent_since
from fleetpulse.journal.totals import Changes, Deltas, Key, Total
from fleetpulse.journal.writes import Adjustment, AgentState, Outcome, SaveAgents

__all__ = [
    "ALERTS",
    "REQUESTS",
    "Adjustment",
    "AgentState",
    "AlertRow",
    "Changes",
    "Deltas",
    "Journal",
    "Key",
    "Outcome",
    "RequestRow",
    "Retention",
    "Row",
    "SaveAgents",
    "Table",
    "Total",
    "rfc3339",
    "spent_since",
]
