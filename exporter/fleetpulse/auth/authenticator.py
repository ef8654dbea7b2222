"""The one place that decides whether credentials hold, and whether it is safe to start at all."""

import logging
import time
from collections.abc import Callable

from fleetpulse.auth import jwks
from fleetpulse.auth.keys import KeyStore, split_bearer
from fleetpulse.auth.principal import ANONYMOUS, Credentials, Principal
from fleetpulse.auth.tokens import Tokens
from fleetpulse.config import Settings, is_loopback
from fleetpulse.errors import ConfigError, UnauthenticatedError

log = logging.getLogger(__name__)


class Authenticator:
    """Turns credentials into principals. Once any credential is configured, every call needs one."""

    def __init__(self, keys: KeyStore, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        fetch_jwks: jwks.Fetch | None = None,
    ) -> "Authenticator":
        """Reads keys and secrets; raises ConfigError. `fetch_jwks` replaces the fetcher of `auth.jwks_url`."""
        keys = KeyStore(settings.app_keys_path, monotonic)
        return cls(keys, Tokens.from_settings(settings.auth, monotonic, fetch_jwks))

    @property
    def enabled(self) -> bool:
        """Whether credentials are asked for. May turn true while running (the first key), never false again."""
        return self._tokens.configured or self._keys.configured

    async def authenticate(self, credentials: Credentials) -> Principal:
        """Who this is; `ANONYMOUS` for anyone where credentials are not asked for.

        Raises UnauthenticatedError when none are given or they do not hold.
        """
        if not self.enabled:
            return ANONYMOUS
        if credentials.app_key is not None or credentials.app_secret is not None:
            return self._app_key(credentials.app_key or "", credentials.app_secret or "")
        if not credentials.bearer:
            raise UnauthenticatedError(
                "this server asks for credentials: send X-App-Key and X-App-Secret, or Authorization: Bearer"
            )
        if (pair := split_bearer(credentials.bearer)) is not None:
            return self._app_key(*pair)
        return await self._tokens.verify(credentials.bearer)

    def _app_key(self, key: str, secret: str) -> Principal:
        kept = self._keys.verify(key, secret)
        return Principal(f"{kept.name} ({kept.key})", frozenset({kept.role}), kept.pool_id)


def ensure_safe(settings: Settings) -> None:
    """Refuses (ConfigError) to serve other machines without app keys and tokens, unless told so in plain words."""
    if is_loopback(settings.host):
        return
    missing = _missing(settings)
    if missing and not settings.auth.allow_unauthenticated:
        raise ConfigError(_refusal(settings.host, missing))
    if not Authenticator.from_settings(settings).enabled:
        log.warning(
            "serving %s WITHOUT credentials, as auth.allow_unauthenticated says: anyone who can reach the port "
            "can read and write everything",
            settings.host,
        )


def _missing(settings: Settings) -> list[str]:
    keys = KeyStore(settings.app_keys_path, time.monotonic).configured
    tokens = Tokens.from_settings(settings.auth, time.monotonic).configured
    lacking = []
    if not keys:
        lacking.append(
            "  - make an app key for the programs that report:  fleetpulse token key --name NAME --role reporter"
        )
    if not tokens:
        lacking.append(
            "  - set a secret for people's tokens:  (umask 077; fleetpulse token secret > jwt.secret); "
            "export FLEETPULSE_AUTH__JWT_SECRET_FILE=jwt.secret  (or FLEETPULSE_AUTH__JWKS_URL)"
        )
    return lacking


def _refusal(host: str, missing: list[str]) -> str:
    steps = "\n".join(missing)
    return (
        f"host is {host}, which other machines can reach, and it is not guarded. To guard it:\n{steps}\n"
        "Or keep to this machine: FLEETPULSE_HOST=127.0.0.1\n"
        "Or, only behind something else that guards it: FLEETPULSE_AUTH__ALLOW_UNAUTHENTICATED=true "
        "(anyone who can reach the port can read and write everything)"
    )
