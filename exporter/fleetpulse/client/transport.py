"""HTTP with the standard library alone: one kept connection to one server, every exchange bounded in time and size.

Promises: `post` ends within `seconds`, whatever the server does, plus what a name takes to be looked up.
Refuses: redirects, proxies, and to show credentials in any error.
"""

import codecs
import gzip
import io
import socket
import ssl
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, cast

from fleetpulse import __version__
from fleetpulse.client.environment import Target

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ANSWER = 4 * 2**20
CONNECT_SECONDS = 5.0
COMPRESS_FROM = 1_024
COMPRESSION = 3  # half the size of none, a third of the time of the default
NDJSON, JSON = "application/x-ndjson", "application/json"
# Looking a host up wants this codec, which is imported at its first use. Imported by a thread while another forks,
# its import lock would be held in the child for ever.
codecs.lookup("idna")


class ExchangeError(Exception):
    """There was no whole answer; says why."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    retry_after: str | None
    body: bytes


class Transport:
    """Used by one thread."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._connection: HTTPConnection | None = None
        self._headers = target.headers | {"User-Agent": f"fleetpulse-client/{__version__}"}

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        """Posts, compressed where it pays. Raises ExchangeError.

        A kept connection that the server has closed meanwhile is replaced once: what is sent may be sent twice.
        """
        headers = self._headers | {"Content-Type": content_type}
        if len(body) >= COMPRESS_FROM:
            body, headers["Content-Encoding"] = gzip.compress(body, COMPRESSION), "gzip"
        until = time.monotonic() + self._seconds
        kept = self._connection is not None
        try:
            return self._exchange(path, body, headers, until)
        except (ConnectionError, HTTPException) as error:
            if not kept:
                raise ExchangeError(_plain(error)) from error
        except (OSError, ValueError) as error:
            raise ExchangeError(_plain(error)) from error
        try:
            return self._exchange(path, body, headers, until)
        except (OSError, HTTPException, ValueError) as error:
            raise ExchangeError(_plain(error)) from error

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _exchange(self, path: str, body: bytes, headers: dict[str, str], until: float) -> Answer:
        """One attempt; after one that fails there is no connection."""
        connection = self._connect(until)
        self._connection = None
        try:
            connection.request("POST", self._target.parts.path + path, body, headers)
            with closing(connection.getresponse()) as response:
                answer = _whole(response)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return Answer(response.status, response.headers.get("Retry-After"), answer)

    def _connect(self, until: float) -> HTTPConnection:
        connection = self._connection or self._new()
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(max(0.001, until - time.monotonic()))
        # The class is called with the socket and keywords, and nothing else of it is used.
        connection.response_class = cast("type[HTTPResponse]", partial(_BoundedResponse, until))
        return connection

    def _new(self) -> HTTPConnection:
        parts = self._target.parts
        host, seconds = parts.hostname or "", min(CONNECT_SECONDS, self._seconds)
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=seconds, context=ssl.create_default_context())
        return HTTPConnection(host, parts.port, timeout=seconds)


def _whole(response: HTTPResponse) -> bytes:
    answer = response.read(MAX_ANSWER + 1)
    if len(answer) > MAX_ANSWER or response.length:
        raise HTTPException("the answer is too long, or breaks off")
    return answer


class _BoundedResponse(HTTPResponse):
    """A response that must have come by a moment, however slowly its bytes drip."""

    def __init__(self, until: float, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.fp.close()
        self.fp = io.BufferedReader(_BoundedReader(sock, until))


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _plain(error: Exception) -> str:
    """Why there is no answer, in words that hold nothing of the request."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or "the connection broke off"
    return f"no HTTP answer ({type(error).__name__})"
