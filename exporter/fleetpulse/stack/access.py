"""Keeps the token with which Prometheus scrapes and Alertmanager posts.

Both read the file again at every request, so it can change while they run: before the exporter asks for
credentials the file holds a placeholder that nobody checks; from the first key or secret on, a key of its own.
"""

import time
from pathlib import Path

from fleetpulse.auth import Authenticator, Role
from fleetpulse.auth.keys import KeyStore, bearer, create, split_bearer
from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError, UnauthenticatedError

NAME = "fleetpulse up: Prometheus and Alertmanager"
PLACEHOLDER = "no-credentials-configured"


class StackToken:
    """The token file; `refresh` makes it fit what the exporter asks for."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.path = path
        self._keys_path = settings.app_keys_path
        self._authenticator = Authenticator.from_settings(settings)

    def refresh(self) -> None:
        """Writes a token where one is needed and the one at hand does not hold. Raises ConfigError."""
        kept = self._read()
        if self._authenticator.enabled:
            if not self._holds(kept):
                key, secret = create(self._keys_path, name=NAME, role=Role.OPERATOR)
                self._write(bearer(key, secret))
        elif kept is None:
            self._write(PLACEHOLDER)

    def _holds(self, token: str | None) -> bool:
        pair = split_bearer(token or "")
        if pair is None:
            return False
        try:
            KeyStore(self._keys_path, time.monotonic).verify(*pair)
        except UnauthenticatedError:
            return False
        return True

    def _read(self) -> str | None:
        try:
            return self.path.read_text()
        except OSError:
            return None

    def _write(self, token: str) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh.touch(mode=0o600)
            fresh.write_text(token)
            fresh.replace(self.path)
        except OSError as error:
            raise ConfigError(f"data_dir: {self.path} cannot be written: {error.strerror}") from error
