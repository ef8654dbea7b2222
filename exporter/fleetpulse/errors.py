"""Every error Fleetpulse raises on purpose, with a stable code; it knows nothing of HTTP.

FleetpulseError
├── InvalidInputError        the caller sent something that breaks the contract
│   ├── MalformedError       the bytes cannot be read at all (bad JSON, bad gzip)
│   └── TooLargeError        over a stated limit
├── UnauthenticatedError     no credential, or one that does not hold
├── ForbiddenError           a good credential without the role the call needs
├── NotFoundError            the named thing does not exist
├── LimitedError             the caller has all it may have, or asks too often; others are not affected
├── OverloadedError          a bounded queue is full: try again after `retry_after` seconds
│   └── StorageFullError     the journal cannot be written now
├── UpstreamError            Prometheus or Alertmanager did not answer as expected
└── ConfigError              the configuration cannot work; says which setting and why
    └── JournalDamagedError  the journal failed its integrity check
"""

from typing import Any


class FleetpulseError(Exception):
    """Base of all; `code` is stable and part of the API, `detail` is for people."""

    code = "internal"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInputError(FleetpulseError):
    """Input that breaks the contract; `errors` is a list of `{"loc": [...], "msg": "..."}`."""

    code = "invalid-input"

    def __init__(self, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class MalformedError(InvalidInputError):
    """Bytes that cannot be read: broken JSON, broken gzip, wrong encoding."""

    code = "malformed"


class TooLargeError(InvalidInputError):
    """Input over a stated limit; the detail names the limit."""

    code = "too-large"


class UnauthenticatedError(FleetpulseError):
    """No credential was given, or it does not hold."""

    code = "unauthenticated"


class ForbiddenError(FleetpulseError):
    """The credential is good but lacks the role the call needs."""

    code = "forbidden"


class NotFoundError(FleetpulseError):
    """The named thing does not exist."""

    code = "not-found"


class LimitedError(FleetpulseError):
    """The caller has as much as one caller may have (connections, say), or asks too often."""

    code = "limited"


class OverloadedError(FleetpulseError):
    """A bounded queue is full; nothing of the call was kept, and it may be sent again."""

    code = "overloaded"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StorageFullError(OverloadedError):
    """The journal cannot be written now (disk full); it recovers by itself when there is room."""

    code = "storage-full"


class UpstreamError(FleetpulseError):
    """A service behind Fleetpulse (`name`) is down or answered nonsense."""

    code = "upstream"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


class ConfigError(FleetpulseError):
    """The configuration cannot work; the detail says which setting and what to do."""

    code = "config"


class JournalDamagedError(ConfigError):
    """The journal failed its integrity check at start; the detail says how to go on."""

    code = "journal-damaged"
