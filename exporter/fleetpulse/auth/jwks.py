"""The RSA public keys that RS256 tokens are checked with, from a file or an address, cached.

Keys are fetched on first use, when a token names a key that is not known (at most every `REFRESH_SECONDS`, so
that made-up key ids cost the issuer nothing) and when the set is older than `MAX_AGE_SECONDS`. A failed fetch
leaves the known keys in use and is logged.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fleetpulse.errors import ConfigError, UnauthenticatedError

REFRESH_SECONDS = 30.0
MAX_AGE_SECONDS = 3_600.0
FETCH_SECONDS = 5.0
MAX_BYTES = 2**20
MIN_KEY_BITS = 2_048

Fetch = Callable[[], Awaitable[bytes]]

log = logging.getLogger(__name__)


def fetch_url(url: str) -> Fetch:
    """A fetcher of `url`: no redirects, `FETCH_SECONDS` in all, `MAX_BYTES` at most."""

    async def fetch() -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:  # noqa: PLR2004 - a redirect is no answer
                raise ConfigError(f"{url} answered {response.status}")
            raw = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                raw += chunk
                if len(raw) > MAX_BYTES:
                    break  # parse() refuses it; what is still to come stays unread
            return bytes(raw)

    return fetch


def fetch_file(path: Path) -> Fetch:
    """A fetcher of a local file."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return fetch


def parse(raw: bytes) -> dict[str | None, RSAPublicKey]:
    """The usable keys by key id: RSA of 2,048 bits or more, meant for signatures.

    Raises ConfigError where there is none; its text goes on from the name of the file or address.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES} bytes")
    try:
        listed = json.loads(raw)["keys"]
        entries = [entry for entry in listed if _for_signatures(entry)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError('is not a JWKS document ({"keys": [...]})') from error
    keys = {entry.get("kid"): key for entry in entries if (key := _public_key(entry)) is not None}
    if not keys:
        raise ConfigError(f"holds no RSA public key of {MIN_KEY_BITS} bits or more for RS256")
    return keys


class KeySet:
    """The current keys of one issuer. `monotonic` is in seconds."""

    def __init__(self, fetch: Fetch, monotonic: Callable[[], float], keys: bytes | None = None) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: dict[str | None, RSAPublicKey] = parse(keys) if keys is not None else {}
        self._fetched = self._tried = monotonic() if keys is not None else float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, kid: str | None) -> RSAPublicKey:
        """The key named `kid`, or the only key where none is named. Raises UnauthenticatedError."""
        found = self._find(kid)
        if found is None or (self._aged() and not self._lock.locked()):
            await self._refresh(kid)
            found = self._find(kid)
        if found is None:
            raise UnauthenticatedError(self._why_not())
        return found

    def _find(self, kid: str | None) -> RSAPublicKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _aged(self) -> bool:
        now = self._monotonic()
        return now - self._fetched >= MAX_AGE_SECONDS and now - self._tried >= REFRESH_SECONDS

    async def _refresh(self, kid: str | None) -> None:
        """One fetch at a time; whoever waited for it looks at its result rather than fetch again."""
        async with self._lock:
            waited_for_it = self._find(kid) is not None and not self._aged()
            if waited_for_it or self._monotonic() - self._tried < REFRESH_SECONDS:
                return
            self._tried = self._monotonic()
            try:
                self._keys = parse(await self._fetch())
                self._fetched = self._monotonic()
            except (ConfigError, OSError, aiohttp.ClientError) as error:
                log.warning("the token issuer's keys (JWKS) were not had: %s", str(error) or type(error).__name__)

    def _why_not(self) -> str:
        if not self._keys:
            return "the token cannot be checked now: its issuer's keys (JWKS) are not available"
        return "the token is signed with a key that is not in the issuer's key set (JWKS)"


def _for_signatures(entry: dict[str, Any]) -> bool:
    named = isinstance(entry.get("kid"), str | None)
    fits = (entry["kty"], entry.get("use", "sig"), entry.get("alg", "RS256")) == ("RSA", "sig", "RS256")
    return named and fits


def _public_key(entry: dict[str, Any]) -> RSAPublicKey | None:
    public = {name: value for name, value in entry.items() if name in ("kty", "n", "e")}  # never a private part
    try:
        key = jwt.PyJWK(public, "RS256").key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS else None
