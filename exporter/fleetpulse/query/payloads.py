"""What a recorded message was on the wire, from its row."""

import base64
from typing import Any

from fleetpulse.journal import MessageRow

TEXT, BINARY = 1, 2


def payload_of(row: MessageRow) -> str | bytes | None:
    """The payload as it came: text, or bytes where it was binary; None where it was not kept, or never was."""
    if row.opcode is None:
        return None
    if row.raw is not None:
        return row.raw
    whole = row.opcode == TEXT and row.size == len(row.text.encode())
    return row.text if whole else None


def with_payload(row: MessageRow) -> dict[str, Any]:
    """The message as the API shows it, with its payload where that was kept: `raw`, or `raw_base64` of bytes."""
    shown, payload = row.as_json(), payload_of(row)
    if isinstance(payload, bytes):
        return shown | {"raw_base64": base64.b64encode(payload).decode()}
    return shown if payload is None else shown | {"raw": payload}
