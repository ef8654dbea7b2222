"""The journal: SQLite, one writer thread with group commit, persisted totals in the same transaction."""

from fleetpulse.journal.accounts import AccountState, ForgetAccounts
from fleetpulse.journal.following import Numbered, Page, newest_id, oldest_id, received_after, rows_after
from fleetpulse.journal.history import History, JournalHistory, Stored, Stream
from fleetpulse.journal.journal import ALERTS, REQUESTS, Journal
from fleetpulse.journal.notes import read_note
from fleetpulse.journal.retention import Retention
from fleetpulse.journal.rows import (
    ACTIVITIES,
    EVENTS,
    MAILBOX,
    MESSAGES,
    ActivityRow,
    AlertRow,
    EventRow,
    MailRow,
    MessageRow,
    RequestRow,
    Row,
    Table,
    rfc3339,
)
from fleetpulse.journal.spending import Scope, Spent, spent_since
from fleetpulse.journal.totals import Changes, Deltas, Key, Total
from fleetpulse.journal.writes import Adjustment, AgentState, Outcome, SaveAgents, SaveNote

__all__ = [
    "ACTIVITIES",
    "ALERTS",
    "EVENTS",
    "MAILBOX",
    "MESSAGES",
    "REQUESTS",
    "AccountState",
    "ActivityRow",
    "Adjustment",
    "AgentState",
    "AlertRow",
    "Changes",
    "Deltas",
    "EventRow",
    "ForgetAccounts",
    "History",
    "Journal",
    "JournalHistory",
    "Key",
    "MailRow",
    "MessageRow",
    "Numbered",
    "Outcome",
    "Page",
    "RequestRow",
    "Retention",
    "Row",
    "SaveAgents",
    "SaveNote",
    "Scope",
    "Spent",
    "Stored",
    "Stream",
    "Table",
    "Total",
    "newest_id",
    "oldest_id",
    "read_note",
    "received_after",
    "rfc3339",
    "rows_after",
    "spent_since",
]
