"""Which reports were sent last, remembered in the journal through restarts."""

import json
import secrets
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date

from fleetpulse.journal import Journal
from fleetpulse.journal.notes import read_note
from fleetpulse.journal.writes import SaveNote
from fleetpulse.query.periods import Kind

NOTE = "reports"


@dataclass
class Sent:
    """The last period that is done with (its first day), and when it was sent (Unix seconds), if it was."""

    period: date
    at: float | None = None


@dataclass
class Memory:
    """What was sent, by report. `installation` keeps the ids of this exporter's e-mails apart from another's."""

    installation: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: dict[Kind, Sent] = field(default_factory=dict)


def recall(journal: Journal) -> Memory:
    """What was kept last. Blocks for a moment."""
    with closing(journal.reader()) as reader:
        note = read_note(reader, NOTE)
    if note is None:
        return Memory()
    kept = json.loads(note)
    sent = {kind: Sent(date.fromisoformat(one["period"]), one["at"]) for kind, one in kept["sent"].items()}
    return Memory(kept["installation"], sent)


async def keep(journal: Journal, memory: Memory) -> None:
    """Returns once it is committed. Raises OverloadedError."""
    sent = {kind: {"period": one.period.isoformat(), "at": one.at} for kind, one in memory.sent.items()}
    value = json.dumps({"installation": memory.installation, "sent": sent}).encode()
    await journal.submit(SaveNote({}, NOTE, value))
