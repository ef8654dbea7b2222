"""Stored messages, as the recorder and the chat store them, and a journal of them for an exporter to begin with."""

from pathlib import Path
from typing import Any

from tests.journal.stand import NOW, at_work

from fleetpulse.journal import MESSAGES, MessageRow


def message(number: int, stream: str = "shop", **fields: Any) -> MessageRow:
    """A recorded message; what a test does not name is plain."""
    text = fields.get("text", f"message {number}")
    connection = fields.get("connection", f"{stream}-c1")
    plain = MessageRow(
        message_id=f"{stream}/{connection}/{number}",
        received_at=NOW + number,
        timestamp=None,
        stream=stream,
        kind="chat",
        session_id=None,
        user_id="anna",
        text=text,
        opcode=1,
        size=len(text.encode()),
        clock=float(number),
        connection=connection,
    )
    return plain._replace(**fields)


def said(message_id: str, session_id: str | None, text: str, **fields: Any) -> MessageRow:
    """A message of the own chat."""
    plain = MessageRow(message_id, NOW, None, "chat", "text", session_id, "bob", text)
    return plain._replace(**fields)


async def fill(journal: Path, rows: list[MessageRow]) -> None:
    """Makes a journal with these messages, and the totals of them, for an exporter to start with."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    async with at_work(journal) as stand:
        await stand.journal.store(MESSAGES, rows)
