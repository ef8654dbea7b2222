"""HTTP to a service behind the exporter: bounded in time and size, and every failure is an UpstreamError.

Nothing is tried again: whoever asked is told at once, and may. Redirects are not followed.
"""

import asyncio
import os
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson

from fleetpulse.errors import UpstreamError

MAX_BYTES = 32 * 2**20
CONNECTIONS = 8
LARGE_BYTES = 2**18  # JSON past it is parsed on another thread
OK = 200
EMPTY = b"null"
T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of what is done at the same time. The first failure ends the rest, and is raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class Upstream:
    """One service, called `name` in errors. `token_file` holds a bearer token and is read again at every call."""

    def __init__(self, name: str, url: str, token_file: Path | None = None, seconds: float = 20.0) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of a GET. Raises UpstreamError."""
        return await self._ask("GET", path, params=query)

    async def post(self, path: str, form: Mapping[str, str]) -> Any:
        """The JSON of a POST of form fields. Raises UpstreamError."""
        return await self._ask("POST", path, data=form)

    async def give(self, path: str, document: Any) -> None:
        """Posts JSON, where nothing but yes or no is answered. Raises UpstreamError."""
        body = await asyncio.to_thread(orjson.dumps, document)
        await self._ask("POST", path, may_be_empty=True, data=body, given={"Content-Type": "application/json"})

    async def send(self, path: str, document: Any) -> Any:
        """The JSON of a POST of JSON. Raises UpstreamError."""
        return await self._ask("POST", path, json=document)

    async def close(self) -> None:
        """Closes the connections; what is under way fails."""
        if self._session is not None:
            await self._session.close()

    def failed(self, detail: str) -> UpstreamError:
        """The error that names this service."""
        return UpstreamError(self.name, detail)

    def explain(self, document: Any) -> str:
        """What an error's JSON says, in the words of the service; overridden where it has a form of its own."""
        return document[:200] if isinstance(document, str) else ""

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        may_be_empty: bool = False,
        given: Mapping[str, str] | None = None,
        **how: Any,
    ) -> Any:
        try:
            headers = await asyncio.to_thread(self._credentials) | dict(given or {})
            async with self._connected().request(
                method, self._url + path, headers=headers, allow_redirects=False, timeout=self._timeout, **how
            ) as response:
                body = await self._read(response) or (EMPTY if may_be_empty else b"")
                return await self._judged(response.status, body)
        except TimeoutError as error:
            raise self.failed(f"did not answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno or 0
            why = os.strerror(number) if number > 0 else "no such host"  # its own words tell the address
            raise self.failed(f"cannot be reached ({why})") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self.failed(f"cannot be asked ({type(error).__name__})") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_BYTES:
                raise self.failed(f"answered more than {MAX_BYTES >> 20} MiB; ask for less")
        return bytes(body)

    async def _judged(self, status: int, body: bytes) -> Any:
        try:
            document = (
                orjson.loads(body) if len(body) < LARGE_BYTES else await asyncio.to_thread(orjson.loads, body)
            )
        except orjson.JSONDecodeError as error:
            raise self.failed(f"answered {status} and no JSON") from error
        if status != OK:
            said = self.explain(document)
            raise self.failed(f"answered {status}" + (f": {said}" if said else ""))
        return document

    def _credentials(self) -> dict[str, str]:
        """Also asks for plain bodies: what decompresses has no bound, and the way is short."""
        plain = {"Accept-Encoding": "identity"}
        if self._token_file is None:
            return plain
        return plain | {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}

    def _connected(self) -> aiohttp.ClientSession:
        """The session, made where it is first needed: it belongs to the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session
