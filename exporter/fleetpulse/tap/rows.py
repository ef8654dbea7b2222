"""Recorded messages as rows of the journal."""

from collections.abc import Sequence

from fleetpulse.journal import MessageRow
from fleetpulse.tap.frames import Recorded


def message_row(stream: str, recorded: Recorded, *, keep_raw: bool) -> MessageRow:
    """One message as it is stored. Its id is its place in the stream, so that stored twice, it is stored once."""
    frame, reading, rules = recorded
    return MessageRow(
        f"{stream}/{frame.connection}/{frame.number}",
        frame.received_at,
        reading.timestamp,
        stream,
        reading.kind,
        reading.room,
        reading.user,
        reading.text,
        raw=frame.data if keep_raw and frame.data != reading.text else None,
        opcode=frame.opcode,
        size=frame.size,
        clock=round(frame.clock, 6),
        connection=frame.connection,
        rules=f",{','.join(rules)}," if rules else None,
    )


def message_rows(stream: str, recorded: Sequence[Recorded], *, keep_raw: bool) -> list[MessageRow]:
    """Many of them, in order."""
    return [message_row(stream, each, keep_raw=keep_raw) for each in recorded]
