"""Asks an exporter, and insists: what `demo`, `replay`, `agent` and `report` speak through.

Promises: a payload is either answered by the exporter or an error says why not. It is sent again, with growing
pauses, while the exporter is away, restarting or overloaded (it then names the pause itself, `Retry-After`).
Sending the same payload twice is harmless because every durable signal carries an id.
Refuses: to try again what cannot succeed, such as a wrong credential or a malformed body.
"""

import asyncio
import ipaddress
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
    UpstreamError,
)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
LONGEST_RETRY_AFTER = 30.0
CONNECT_SECONDS = 5.0
SERVER_ERROR = 500
TOO_MANY_REQUESTS = 429
OK_BELOW = 300


@dataclass(frozen=True)
class Credentials:
    """What a client shows: an app key with its secret, or a bearer token, or nothing."""

    app_key: str | None = None
    app_secret: str | None = None
    token: str | None = None

    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry them."""
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.app_key:
            return {"X-App-Key": self.app_key, "X-App-Secret": self.app_secret or ""}
        return {}


class _TryAgainError(Exception):
    """This attempt failed in a way that may pass; `pause` seconds were asked for, if any."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class Sender:
    """One connection pool to one exporter; an async context manager.

    `patience` is for how many seconds one payload is tried again; 0 means a single attempt, which may take
    `attempt_seconds`. `on_trouble` hears, for people, why an attempt failed; `retries` counts attempts after the
    first.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        patience: float = 120.0,
        attempt_seconds: float = 60.0,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.retries = 0
        self._headers = (credentials or Credentials()).headers() | {"Content-Type": "application/json"}
        self._patience = patience
        self._timeout = aiohttp.ClientTimeout(total=attempt_seconds, sock_connect=CONNECT_SECONDS)
        self._on_trouble = on_trouble or (lambda _: None)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, payload: Any, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Posts `payload` as JSON and returns the answer's JSON.

        Raises UpstreamError once patience has run out; UnauthenticatedError, ForbiddenError, NotFoundError,
        TooLargeError or InvalidInputError when the exporter refuses the payload for good.
        """
        body = orjson.dumps(payload)
        return _json_object(await self._insist("POST", path, data=body, params=query))

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body of a GET. Raises as `post`."""
        return await self._insist("GET", path, params=query)

    async def _insist(self, method: str, path: str, **how: Any) -> bytes:
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._attempt(method, path, **how)
            except _TryAgainError as trouble:
                wait = trouble.pause if trouble.pause is not None else pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                if time.monotonic() + wait > deadline:
                    raise UpstreamError("exporter", f"{trouble} at {self.url}") from trouble
                self._on_trouble(str(trouble))
                self.retries += 1
                await asyncio.sleep(wait)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _attempt(self, method: str, path: str, **how: Any) -> bytes:
        if self._session is None:
            raise RuntimeError("a Sender is used inside `async with`")
        try:
            async with self._session.request(method, self.url + path, **how) as response:
                answer = await response.read()
                _judge(response.status, response.headers.get("Retry-After"), answer)
                return answer
        except TimeoutError as error:
            raise _TryAgainError("no answer in time") from error
        except aiohttp.InvalidURL as error:
            raise InvalidInputError(f"{self.url} is not an address; try http://127.0.0.1:8001") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _TryAgainError(_plain(error)) from error


def connect_url(host: str, port: int) -> str:
    """The address at which a client on this machine reaches a server that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}" if address.version == 4 else f"http://[::1]:{port}"  # noqa: PLR2004 - IP
    return f"http://{host}:{port}" if address.version == 4 else f"http://[{host}]:{port}"  # noqa: PLR2004 - IP


def _judge(status: int, retry_after: str | None, body: bytes) -> None:
    """Raises the error that an answer's status stands for."""
    if status < OK_BELOW:
        return
    document = _json_object(body)
    detail = str(document.get("detail") or document.get("title") or f"HTTP {status}")
    if status >= SERVER_ERROR or status == TOO_MANY_REQUESTS:
        raise _TryAgainError(f"HTTP {status}: {detail}", _seconds(retry_after))
    raise _refusal(status, detail, document.get("errors"))


def _refusal(status: int, detail: str, errors: object) -> FleetpulseError:
    """The error of a status that will not change by trying again, with the reasons that came with it."""
    kinds = {401: UnauthenticatedError, 403: ForbiddenError, 404: NotFoundError, 413: TooLargeError}
    if status in kinds:
        return kinds[status](detail)
    reasons = errors if isinstance(errors, list) else []
    return InvalidInputError(detail, [each for each in reasons if isinstance(each, dict)])


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds, jittered upwards so that many clients do not return at once."""
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return min(float(retry_after), LONGEST_RETRY_AFTER) + random.uniform(0, 0.2)  # noqa: S311 - jitter


def _plain(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect ({error.os_error.strerror or error.os_error})"
    return str(error) or "the connection broke off"
