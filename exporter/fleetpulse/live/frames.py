"""Server-side WebSocket frames (RFC 6455) as bytes: unfragmented and unmasked."""

SMALL = 126
MEDIUM = 65_536
MAX_CONTROL = 125


def text(payload: bytes) -> bytes:
    """A text frame of UTF-8 bytes."""
    size = len(payload)
    if size < SMALL:
        return bytes((0x81, size)) + payload
    if size < MEDIUM:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def deflated_text(payload: bytes) -> bytes:
    """A text frame of deflated bytes: the same with RSV1 set (RFC 7692)."""
    frame = text(payload)
    return b"\xc1" + frame[1:]


def ping(payload: bytes = b"") -> bytes:
    """A ping frame; the payload is cut at 125 bytes."""
    return _control(0x89, payload)


def pong(payload: bytes) -> bytes:
    """The answer to a ping, with the ping's payload."""
    return _control(0x8A, payload)


def close(code: int, reason: str) -> bytes:
    """A close frame; a reason too long for one is cut at a whole character."""
    text_part = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore").encode()
    return _control(0x88, code.to_bytes(2, "big") + text_part)


def _control(first: int, payload: bytes) -> bytes:
    payload = payload[:MAX_CONTROL]
    return bytes((first, len(payload))) + payload
