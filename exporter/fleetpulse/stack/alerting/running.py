"""Talks to the Alertmanager that runs: have it read its configuration anew, post it an alert.

Where it is, and the token it may ask for, say the settings under `stack`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import orjson

from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError, UpstreamError

SECONDS = 10
LIFETIME = timedelta(minutes=5)


def reload(settings: Settings) -> str:
    """Has it read its configuration anew; says so. Raises UpstreamError when it does not, or finds it wrong."""
    _post(settings, "/-/reload", b"")
    return f"{settings.alertmanager_internal_url}: reloaded"


def send(settings: Settings, labels: Mapping[str, str]) -> str:
    """Posts an alert that fires for five minutes; says so. Raises UpstreamError."""
    now = datetime.now(UTC)
    alert = {
        "labels": dict(labels),
        "annotations": {
            "summary": f"Test of {labels['alertname']}",
            "description": "Sent by `fleetpulse alertmanager test`; nothing is wrong.",
        },
        "startsAt": now.isoformat(),
        "endsAt": (now + LIFETIME).isoformat(),
    }
    _post(settings, "/api/v2/alerts", orjson.dumps([alert]))
    return f"{settings.alertmanager_internal_url}: sent; it ends in {LIFETIME.seconds // 60} minutes"


def _post(settings: Settings, path: str, body: bytes) -> None:
    url = settings.alertmanager_internal_url.rstrip("/") + path
    headers = {"Content-Type": "application/json", **_authorization(settings)}
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"stack.alertmanager_url: {url} is no http address")
    try:
        with urlopen(Request(url, body, headers), timeout=SECONDS):  # noqa: S310 - the scheme was just checked
            return
    except HTTPError as error:
        with error:
            said = error.read(1_000).decode("utf-8", "replace").strip()
        raise UpstreamError("alertmanager", f"{url} answered {error.code}: {said}") from error
    except (URLError, OSError, ValueError) as error:
        raise UpstreamError("alertmanager", f"{url} cannot be reached: {error}") from error


def _authorization(settings: Settings) -> dict[str, str]:
    file = settings.stack.alertmanager_token_file
    if file is None:
        return {}
    try:
        return {"Authorization": f"Bearer {file.read_text('utf-8').strip()}"}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"stack.alertmanager_token_file: {file} cannot be read: {error}") from error
