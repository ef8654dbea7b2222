"""All that the client reads from the environment and the machine: where the server is, who calls, where to spool.

The client's own room for this: `fleetpulse.config` has the server's settings, and needs the server's libraries.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

DEFAULT_URL = "http://127.0.0.1:8001"
AUTO = "auto"
NO = frozenset({"0", "false", "no", "off"})
MAX_SOURCE = 128
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True)
class Given:
    """What the program says in code; None is left to the environment."""

    url: str | None = None
    source: str | None = None
    app_key: str | None = None
    app_secret: str | None = None
    token: str | None = None
    spool: str | os.PathLike[str] | None = AUTO
    enabled: bool | None = None


@dataclass(frozen=True)
class Target:
    """The server: its address without credentials in it, and the headers that say who calls."""

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def parts(self) -> SplitResult:
        """The address taken apart."""
        return urlsplit(self.url)


@dataclass(frozen=True)
class Resolved:
    """What holds: code first, then the environment, then defaults. `spool` is None where nothing goes to disk."""

    target: Target
    source: str
    spool: Path | None
    enabled: bool


def resolve(given: Given, environment: Mapping[str, str] | None = None) -> Resolved:
    """What holds. Raises ValueError, without any secret in it, for what cannot work."""
    env = os.environ if environment is None else environment

    def either(said: str | None, name: str) -> str | None:
        return said if said is not None else (env.get(f"FLEETPULSE_{name}", "").strip() or None)

    app_key = either(given.app_key, "APP_KEY")
    target = Target(
        clean_url(either(given.url, "URL") or DEFAULT_URL),
        _headers(app_key, either(given.app_secret, "APP_SECRET"), either(given.token, "TOKEN")),
    )
    enabled = given.enabled
    if enabled is None:
        enabled = env.get("FLEETPULSE_ENABLED", "").strip().lower() not in NO
    source = either(given.source, "SOURCE") or env.get("OTEL_SERVICE_NAME", "").strip() or _program()
    return Resolved(target, source[:MAX_SOURCE], _spool(given.spool, env, target.url, app_key), enabled)


def clean_url(url: str) -> str:
    """The address without user, query and final slashes. Raises ValueError where it is none of http or https."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the server's address must begin with http:// or https://, like {DEFAULT_URL}")
    _ = parts.port  # raises ValueError for one that is none
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _headers(app_key: str | None, app_secret: str | None, token: str | None) -> dict[str, str]:
    if token:
        return {"Authorization": f"Bearer {_header('token', token)}"}
    if app_key:
        return {"X-App-Key": _header("app_key", app_key), "X-App-Secret": _header("app_secret", app_secret or "-")}
    return {}


def _header(name: str, value: str) -> str:
    """The value, which is not shown when it is wrong."""
    value = value.strip()
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"the {name} is empty or has characters that no HTTP header takes")
    return value


def _program() -> str:
    name = Path(sys.argv[0] if sys.argv else "").stem
    return name if name and name not in ("-c", "-m", "__main__") else "python"


def _spool(
    said: str | os.PathLike[str] | None, env: Mapping[str, str], url: str, app_key: str | None
) -> Path | None:
    """The folder for records to this server under this key: what one program left is never sent elsewhere."""
    if said == AUTO:
        said = env.get("FLEETPULSE_SPOOL", "").strip() or AUTO
    if said is None or str(said).lower() in NO:
        return None
    base = _state_folder(env) if said == AUTO else Path(said).expanduser().absolute()
    if base is None:
        return None
    digest = sha256(f"{url}\n{app_key or ''}".encode()).hexdigest()[:12]
    place = re.sub(r"[^A-Za-z0-9.]+", "-", urlsplit(url).netloc)[:60]
    return base / f"{place}-{digest}"


def _state_folder(env: Mapping[str, str]) -> Path | None:
    """Where this user's programs keep their state (XDG base directories); None for a user without a home."""
    if sys.platform == "win32":
        local = env.get("LOCALAPPDATA")
        return Path(local) / "fleetpulse" / "spool" if local else None
    state = env.get("XDG_STATE_HOME")
    if state:
        return Path(state) / "fleetpulse" / "spool"
    try:
        return Path.home() / ".local" / "state" / "fleetpulse" / "spool"
    except RuntimeError:
        return None
