"""App keys: the file they are kept in, how they are made and revoked, how they are checked.

The file (JSON, mode 0600, replaced atomically) holds each key's SHA-256, never the secret. A fast hash is right
here: a secret is 256 random bits, so no dictionary helps and no hardware searches the space; the slow hashes made
for passwords would only slow ingest down. A running server notices a changed file within a second, so revoking
needs no restart.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetpulse.auth.principal import Role
from fleetpulse.errors import ConfigError, FleetpulseError, NotFoundError, UnauthenticatedError
from fleetpulse.signals import Label

MAX_KEYS = 10_000
BEARER_PREFIX = "fp_"
_CHECK_SECONDS = 1.0
_NO_HASH = "0" * 64  # what an unknown key is compared with, so that it takes as long as a known one

log = logging.getLogger(__name__)


class AppKey(BaseModel):
    """One key as kept: `key` is its public half, `secret_sha256` the hash of the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{16}$")
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    name: Label
    role: Role
    pool_id: Label | None = None
    created_at: datetime
    revoked_at: datetime | None = None


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal[1] = 1
    keys: tuple[AppKey, ...] = Field((), max_length=MAX_KEYS)


def create(path: Path, *, name: str, role: Role, pool_id: str | None = None) -> tuple[str, str]:
    """Makes a key and stores its hash; returns (key, secret). The secret cannot be had again.

    Raises ConfigError when the file cannot be read or written, or holds `MAX_KEYS` already.
    """
    key, secret = secrets.token_hex(8), secrets.token_hex(32)
    try:
        made = AppKey(
            key=key,
            secret_sha256=_digest(secret),
            name=name,
            role=role,
            pool_id=pool_id,
            created_at=datetime.now(UTC),
        )
    except ValidationError as error:
        wrong = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors(include_input=False))
        raise ConfigError(f"no key was made: {wrong}") from None
    with _locked(path):
        keys = list_keys(path)
        if len(keys) >= MAX_KEYS:
            raise ConfigError(f"{path} holds {MAX_KEYS} keys already, the most it may")
        _write(path, (*keys, made))
    return key, secret


def list_keys(path: Path) -> tuple[AppKey, ...]:
    """All keys in the file, revoked ones too; none where there is no file. Raises ConfigError."""
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"the app keys file {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "the whole"
        raise ConfigError(f"the app keys file {path} is damaged at {where}; restore it or delete it") from None


def revoke(path: Path, key: str) -> None:
    """Revokes a key; again is fine. It stays listed, so that the record of it is kept.

    Raises NotFoundError when there is no such key, ConfigError when the file fails.
    """
    with _locked(path):
        keys = list_keys(path)
        if all(kept.key != key for kept in keys):
            raise NotFoundError(f"there is no app key {key!r}")
        _write(path, tuple(_revoked(kept) if kept.key == key else kept for kept in keys))


def bearer(key: str, secret: str) -> str:
    """Key and secret as one value for `Authorization: Bearer`: `fp_<key>_<secret>`."""
    return f"{BEARER_PREFIX}{key}_{secret}"


def split_bearer(value: str) -> tuple[str, str] | None:
    """Key and secret of such a value; None when it is something else, a JWT for one."""
    if not value.startswith(BEARER_PREFIX):
        return None
    key, _, secret = value.removeprefix(BEARER_PREFIX).partition("_")
    return key, secret


class KeyStore:
    """A server's view of the file: read at start, and again when it changed (looked at once a second at most)."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._stamp = _stamp(path)
        self._keys = {kept.key: kept for kept in list_keys(path)}
        self._ever = bool(self._keys)
        self._look_again = monotonic() + _CHECK_SECONDS

    @property
    def configured(self) -> bool:
        """Whether there is or ever was a key: revoking or deleting the last must not open the doors."""
        self._refresh()
        return self._ever

    def verify(self, key: str, secret: str) -> AppKey:
        """The key that this secret belongs to; raises UnauthenticatedError, the same for every reason."""
        self._refresh()
        kept = self._keys.get(key)
        same = hmac.compare_digest(_digest(secret), kept.secret_sha256 if kept else _NO_HASH)
        if kept is None or not same or kept.revoked_at is not None:
            raise UnauthenticatedError("the app key and secret do not match, or the key was revoked")
        return kept

    def _refresh(self) -> None:
        now = self._monotonic()
        if now < self._look_again:
            return
        self._look_again = now + _CHECK_SECONDS
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()

    def _reload(self) -> None:
        try:
            self._keys = {kept.key: kept for kept in list_keys(self._path)}
        except FleetpulseError as error:
            log.error("app keys stay as they were: %s", error)  # noqa: TRY400 - a trace says no more
        self._ever = self._ever or bool(self._keys)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _revoked(kept: AppKey) -> AppKey:
    return kept if kept.revoked_at else kept.model_copy(update={"revoked_at": datetime.now(UTC)})


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the folder's lock, so that two commands at once lose no key; the file itself gets replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"the app keys' folder {path.parent} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: tuple[AppKey, ...]) -> None:
    text = _KeyFile(keys=keys).model_dump_json(indent=2, exclude_none=True) + "\n"
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # left by a crash; a fresh one gets the right mode
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"the app keys file {path} cannot be written: {error.strerror}") from error
