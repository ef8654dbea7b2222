"""Why a connection ended, or an attempt brought none, and whether trying again is of any use.

Causes are few, as they are a label of a series: `stopped` (by us), `closed` (by the server), `lost` (it broke off),
`silent` (no sign of life), `too_big`, `invalid` (not the protocol, or no UTF-8), `policy` (closed with 1008),
`unreachable`, `timeout`, `refused` (an HTTP status instead of a WebSocket), `busy` (429, 503), `proxy`, `tls`,
`certificate`, `forbidden` (an address), `redirected`, `configuration`.
"""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import aiohttp

from fleetpulse.errors import ConfigError
from fleetpulse.tap.guards import RedirectedError

NO_CODE, NOT_CLOSED = 1005, 1006  # RFC 6455, 7.4.1: never sent, they stand for what was not
POLICY, PROTOCOL, NO_TEXT, TOO_BIG = 1008, 1002, 1007, 1009
FATAL_STATUSES = frozenset({401, 403, 404, 405, 407, 410})
BUSY_STATUSES = frozenset({408, 425, 429, 503})
MAX_TEXT = 300


class Ending(NamedTuple):
    """Why something ended. `code` and `reason` are the server's, or ours where we closed (RFC 6455, 7.4).

    `fatal`: the same would happen again. `retry_after` is in seconds, where the server asked for it.
    """

    cause: str
    why: str
    code: int | None = None
    reason: str = ""
    fatal: bool = False
    retry_after: float | None = None


class AttemptError(Exception):
    """An attempt has brought no connection."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.why)
        self.ending = ending


def closed(code: int, reason: str) -> Ending:
    """The server has closed; 0 is a close frame without a code."""
    said = f"the server closed with {code or 'no code'}{f': {reason}' if reason else ''}"
    if code == POLICY:
        return Ending("policy", said, code, reason, fatal=True)
    return Ending("closed", said, code or NO_CODE, reason)


def lost(error: object = None) -> Ending:
    """The connection has ended without a close frame."""
    return Ending("lost", f"the connection broke off{f': {error}' if error else ''}", NOT_CLOSED)


def broken(error: aiohttp.WebSocketError) -> Ending:
    """The server has sent what cannot be taken, and we have closed."""
    cause = "too_big" if error.code == TOO_BIG else "invalid"
    return Ending(cause, f"we closed with {int(error.code)}: {error.args[1]}", int(error.code))


def failure(error: Exception, now: float) -> Ending:  # noqa: C901, PLR0911 - a table, the narrow classes first
    """What became of an attempt, by what it raised. `now` is in Unix seconds."""
    match error:
        case RedirectedError():
            return Ending("redirected", f"{error}, which is not followed: give that address", fatal=True)
        case ConfigError():
            return Ending("configuration", error.detail, fatal=True)
        case aiohttp.ClientHttpProxyError():
            return _proxy_said(error)
        case aiohttp.WSServerHandshakeError():
            return _server_said(error, now)
        case aiohttp.ClientProxyConnectionError():
            return Ending("proxy", f"no connection to the proxy: {_system(error)}")
        case aiohttp.ClientConnectorCertificateError():
            return Ending("certificate", f"the certificate is refused: {error.certificate_error}", fatal=True)
        case aiohttp.ClientSSLError():
            return Ending("tls", f"no TLS: {_system(error)}")
        case aiohttp.InvalidURL():
            return Ending("configuration", "the address is none", fatal=True)
        case TimeoutError():
            return Ending("timeout", "no answer in time")
        case aiohttp.ClientResponseError():
            return Ending("invalid", f"the answer is no HTTP: {error.message}"[:MAX_TEXT])
        case aiohttp.ClientConnectorError():
            return Ending("unreachable", f"no connection: {_system(error)}")
        case _:
            return Ending("unreachable", f"no connection: {error or type(error).__name__}"[:MAX_TEXT])


def _server_said(error: aiohttp.WSServerHandshakeError, now: float) -> Ending:
    status = error.status
    if status == 101:  # noqa: PLR2004 - HTTP
        return Ending("invalid", f"the handshake is broken: {error.message}")
    why = f"HTTP {status} instead of a WebSocket"
    if status in BUSY_STATUSES:
        asked = error.headers.get("Retry-After") if error.headers else None
        return Ending("busy", why, retry_after=seconds(asked, now))
    return Ending("refused", why, fatal=status in FATAL_STATUSES)


def _proxy_said(error: aiohttp.ClientHttpProxyError) -> Ending:
    return Ending("proxy", f"HTTP {error.status} from the proxy", fatal=error.status in FATAL_STATUSES - {404})


def _system(error: aiohttp.ClientConnectorError | aiohttp.ClientSSLError) -> str:
    """What the system says; aiohttp's own text has more than people may see."""
    inner = getattr(error, "os_error", None) or error.__cause__ or error
    return str(inner.reason if isinstance(inner, ssl.SSLError) else getattr(inner, "strerror", None) or inner)


def seconds(asked: str | None, now: float) -> float | None:
    """What a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3); None where it is neither."""
    if asked is None:
        return None
    if asked.isascii() and asked.isdigit():
        return float(asked[:9])
    try:
        when = parsedate_to_datetime(asked)
    except ValueError:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.fromtimestamp(now, UTC)).total_seconds())
