"""The process's environment: which file is the configuration, and what stands beside the settings."""

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from fleetpulse.errors import ConfigError

# Read by clients and by tools beside the server, not settings of it.
CLIENT_VARIABLES = frozenset(
    f"FLEETPULSE_{name}"
    for name in ("CONFIG", "URL", "APP_KEY", "APP_SECRET", "TOKEN", "SOURCE", "SPOOL", "ENABLED", "IMAGE", "TOOLS")
)


def config_path() -> Path | None:
    """The configuration file in use, if any; a named file that is missing is an error."""
    named = os.environ.get("FLEETPULSE_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"FLEETPULSE_CONFIG names {named}, which is not a file")
        return Path(named)
    default = Path("fleetpulse.yaml")
    return default if default.is_file() else None


def use_file(path: Path) -> None:
    """Makes `path` the configuration file of this process and of the processes it starts."""
    os.environ["FLEETPULSE_CONFIG"] = str(path.absolute())


def use_tap(*, url: str | None, allow_private: bool, enabled: bool) -> None:
    """Sets the tap's server, and whether there is a tap at all, for this process and those it starts."""
    chosen = {
        "URL": url,
        "ALLOW_PRIVATE": "true" if allow_private else None,
        "ENABLED": None if enabled else "false",
    }
    os.environ.update({f"FLEETPULSE_TAP__{name}": value for name, value in chosen.items() if value is not None})


def otel_variables() -> dict[str, str]:
    """OpenTelemetry's standard variables as they are set; `sinks/variables.py` knows what they mean."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_") and value.strip()}


def unknown_variables(settings: Iterable[str]) -> list[str]:
    """Variables that look like settings and are none: most often a typing mistake, which nothing else notices."""
    known = {f"FLEETPULSE_{name}".upper() for name in settings} | CLIENT_VARIABLES
    names = (name for name in os.environ if name.upper().startswith("FLEETPULSE_"))
    return sorted(name for name in names if name.upper().split("__")[0] not in known)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
