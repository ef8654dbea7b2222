"""One batch over OTLP/HTTP: posts it, and says what the answer means.

The maintained exporter of opentelemetry-python is not used for this: it gives up after a few seconds, says only
"failed" of what may be sent again and what may not, and does not read how many records of a batch were refused. All
three are needed to lose nothing and to count exactly. The messages are those of opentelemetry-proto.

What answers mean follows the specification of OTLP/HTTP: 429, 502, 503, 504 and no answer are tried again, after
`Retry-After` where it is given. One difference: answers that are about the address or the credentials and not about
the records (401, 403, 404, 405, 407, a redirect) are tried again as well, since the journal keeps the records until
somebody has put that right.
"""

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

import aiohttp
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

import fleetpulse
from fleetpulse.errors import ConfigError
from fleetpulse.sinks.variables import Destination

GZIP_LEVEL = 1
MAX_ANSWER_BYTES = 65_536
SHOWN_CHARACTERS = 300
MAX_RETRY_AFTER = 300.0
MISDIRECTED_SECONDS = 10.0
TRANSIENT = {429, 502, 503, 504}
MISDIRECTED = {401, 403, 404, 405, 407}
TOO_LARGE = 413

Outcome = Literal["taken", "again", "smaller", "refused"]
Trouble = Literal["unreachable", "timeout", "busy", "misdirected"]


@dataclass(frozen=True)
class Answer:
    """What became of a batch.

    taken: stored, all but `rejected` records; again: nothing is known to be stored, try later, not before
    `retry_after` seconds; smaller: it was too large; refused: it will never be taken. `detail` is for people.
    """

    outcome: Outcome
    detail: str = ""
    rejected: int = 0
    retry_after: float = 0.0
    trouble: Trouble | None = None


class Delivery:
    """Posts batches to one destination over connections that stay open. Use it on one event loop."""

    def __init__(self, destination: Destination) -> None:
        """Raises ConfigError for certificates that cannot be used."""
        self._destination = destination
        self._ssl = _tls(destination)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes) -> Answer:
        """Sends an encoded request. Never raises for what the network or the other side does."""
        headers = {
            **self._destination.headers,
            "content-type": "application/x-protobuf",
            "user-agent": f"fleetpulse/{fleetpulse.__version__}",
        }
        if self._destination.gzip:
            body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
            headers["content-encoding"] = "gzip"
        try:
            return await self._post(body, headers)
        except TimeoutError:
            return Answer("again", f"no answer within {self._destination.timeout_seconds:g} s", trouble="timeout")
        except (aiohttp.ClientError, OSError) as error:
            told = str(error).replace(self._destination.url, self._destination.shown)
            return Answer("again", told or type(error).__name__, trouble="unreachable")

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes, headers: dict[str, str]) -> Answer:
        async with self._opened().post(
            self._destination.url, data=body, headers=headers, ssl=self._ssl, allow_redirects=False
        ) as response:
            return judge(response.status, response.headers, await _read(response))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._destination.timeout_seconds)
            # Proxies as they are configured for everyone: HTTPS_PROXY, NO_PROXY.
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=True)
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of an answer."""
    answer = b""
    async for chunk in response.content.iter_chunked(MAX_ANSWER_BYTES):
        answer += chunk
        if len(answer) >= MAX_ANSWER_BYTES:
            response.close()
            break
    return answer


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an answer means; `headers` are found whatever their case."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        rejected, detail = _partial(headers.get("Content-Type", ""), body)
        return Answer("taken", detail, rejected=rejected)
    detail = f"{status} {_text(body)}".strip()
    if status in TRANSIENT:
        return Answer("again", detail, retry_after=_retry_after(headers.get("Retry-After")), trouble="busy")
    if status in MISDIRECTED or status < HTTPStatus.BAD_REQUEST:
        return Answer("again", detail, retry_after=MISDIRECTED_SECONDS, trouble="misdirected")
    return Answer("smaller" if status == TOO_LARGE else "refused", detail)


def _partial(content_type: str, body: bytes) -> tuple[int, str]:
    """How many records were rejected, and why; an answer that cannot be read rejects none: they were taken."""
    try:
        if content_type.startswith("application/json"):
            said = json.loads(body or b"{}").get("partialSuccess") or {}
            return int(said.get("rejectedLogRecords") or 0), str(said.get("errorMessage") or "")[:SHOWN_CHARACTERS]
        partial = ExportLogsServiceResponse.FromString(body).partial_success
    except (DecodeError, ValueError, TypeError, AttributeError):
        return 0, ""
    return partial.rejected_log_records, partial.error_message[:SHOWN_CHARACTERS]


def _retry_after(value: str | None) -> float:
    """Seconds until it may be tried again (RFC 9110: seconds, or a date), bounded; 0 where nothing is said."""
    if value is None:
        return 0.0
    try:
        seconds = (
            float(value) if value.strip().isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
        )
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _text(body: bytes) -> str:
    """The readable part of an answer, in one line."""
    text = body[: 4 * SHOWN_CHARACTERS].decode(errors="replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:SHOWN_CHARACTERS]


def _tls(destination: Destination) -> ssl.SSLContext | bool:
    if destination.certificate is None and destination.client_certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=destination.certificate)
        if destination.client_certificate is not None:
            context.load_cert_chain(destination.client_certificate, destination.client_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates of OTEL_EXPORTER_OTLP_*CERTIFICATE cannot be used: {error.strerror or error}"
        ) from error
    return context
