"""JSON Web Tokens: checked against algorithms that configuration pins, and issued with the HS256 secret.

Each verifier knows one algorithm and one kind of key; a token's own `alg` may only miss them, never choose them,
so `alg: none` and an HS256 token signed with an RSA public key are refused by construction.
`aud`, `exp` and `sub` are required (`iss` too, where configured).
"""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
from pydantic import SecretStr

from fleetpulse.auth import jwks
from fleetpulse.auth.principal import Principal, Role
from fleetpulse.config import Auth
from fleetpulse.errors import ConfigError, UnauthenticatedError

MIN_SECRET_CHARS = 32
MAX_NAME_CHARS = 200
MAX_TOKEN_CHARS = 8_192
LEEWAY = timedelta(seconds=5)

log = logging.getLogger(__name__)


class Verifier(Protocol):
    """Checks tokens of one algorithm."""

    async def claims(self, token: str) -> dict[str, Any] | None:
        """The token's verified claims, or None when it is not of this algorithm.

        Raises UnauthenticatedError or jwt.PyJWTError when it is but does not hold.
        """


class SecretVerifier:
    """HS256 with the configured secret."""

    def __init__(self, auth: Auth, secret: SecretStr) -> None:
        self._auth = auth
        self._secret = secret

    async def claims(self, token: str) -> dict[str, Any] | None:
        """See Verifier."""
        if jwt.get_unverified_header(token).get("alg") != "HS256":
            return None
        return _decode(token, self._secret.get_secret_value(), "HS256", self._auth)


class KeySetVerifier:
    """RS256 with the issuer's public keys."""

    def __init__(self, auth: Auth, keys: jwks.KeySet) -> None:
        self._auth = auth
        self._keys = keys

    async def claims(self, token: str) -> dict[str, Any] | None:
        """See Verifier."""
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256":
            return None
        return _decode(token, await self._keys.key(header.get("kid")), "RS256", self._auth)


class Tokens:
    """The tokens this server accepts."""

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self._verifiers = tuple(verifiers)

    @classmethod
    def from_settings(cls, auth: Auth, monotonic: Callable[[], float], fetch: jwks.Fetch | None = None) -> "Tokens":
        """Verifiers for what is configured; raises ConfigError. `fetch` replaces the JWKS address's fetcher."""
        verifiers: list[Verifier] = []
        if (secret := read_secret(auth)) is not None:
            verifiers.append(SecretVerifier(auth, secret))
        if (keys := _key_set(auth, monotonic, fetch)) is not None:
            verifiers.append(KeySetVerifier(auth, keys))
        return cls(verifiers)

    @property
    def configured(self) -> bool:
        """Whether any token can be accepted."""
        return bool(self._verifiers)

    async def verify(self, token: str) -> Principal:
        """The principal a token names; raises UnauthenticatedError that says why, without repeating the token."""
        if len(token) > MAX_TOKEN_CHARS:
            raise UnauthenticatedError(f"the token is longer than {MAX_TOKEN_CHARS} characters")
        try:
            for verifier in self._verifiers:
                if (claims := await verifier.claims(token)) is not None:
                    return _principal(claims)
        except UnauthenticatedError:
            raise
        except Exception as error:  # noqa: BLE001
            # A token is hostile input until verified: whatever a parser trips over in it means "refused".
            raise UnauthenticatedError(_reason(error)) from None
        raise UnauthenticatedError("the token is not signed with an algorithm this server accepts")


def issue(  # noqa: PLR0913 - a token's claims
    auth: Auth,
    *,
    subject: str,
    roles: Iterable[Role],
    lifetime: timedelta,
    sessions: Iterable[str] = (),
    now: datetime | None = None,
) -> str:
    """A token for `subject`, signed with the configured HS256 secret; raises ConfigError where there is none.

    `sessions` are the chat sessions it may enter; `*` among them is all.
    """
    secret = read_secret(auth)
    if secret is None:
        raise ConfigError("tokens are issued with an HS256 secret: set FLEETPULSE_AUTH__JWT_SECRET_FILE")
    if not subject.strip():
        raise ConfigError("a token needs a subject: whom it is for")
    start = now or datetime.now(UTC)
    claims: dict[str, Any] = {
        "sub": subject,
        "roles": sorted(set(roles)),
        "aud": auth.jwt_audience,
        "iat": start,
        "exp": start + lifetime,
    }
    if named := sorted(set(sessions)):
        claims["sessions"] = "*" if "*" in named else named
    if auth.jwt_issuer is not None:
        claims["iss"] = auth.jwt_issuer
    return jwt.encode(claims, secret.get_secret_value(), algorithm="HS256")


def read_secret(auth: Auth) -> SecretStr | None:
    """The HS256 secret from the setting or its file; raises ConfigError when it is unusable, never showing it."""
    if auth.jwt_secret is not None and auth.jwt_secret_file is not None:
        raise ConfigError("auth.jwt_secret and auth.jwt_secret_file are both set; keep one")
    secret = auth.jwt_secret
    if auth.jwt_secret_file is not None:
        try:
            secret = SecretStr(auth.jwt_secret_file.read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"auth.jwt_secret_file: {auth.jwt_secret_file} cannot be read as text") from error
    if secret is not None and len(secret.get_secret_value()) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"the HS256 secret (auth.jwt_secret or auth.jwt_secret_file) has fewer than {MIN_SECRET_CHARS} "
            "characters and could be guessed; make one with: fleetpulse token secret"
        )
    return secret


def _key_set(auth: Auth, monotonic: Callable[[], float], fetch: jwks.Fetch | None) -> jwks.KeySet | None:
    if auth.jwks_file is not None and auth.jwks_url is not None:
        raise ConfigError("auth.jwks_file and auth.jwks_url are both set; keep one")
    if auth.jwks_url is not None:
        _check_url(auth.jwks_url)
        return jwks.KeySet(fetch or jwks.fetch_url(auth.jwks_url), monotonic)
    if auth.jwks_file is None:
        return None
    try:
        raw = auth.jwks_file.read_bytes()
        return jwks.KeySet(jwks.fetch_file(auth.jwks_file), monotonic, raw)
    except (OSError, ConfigError) as error:
        raise ConfigError(f"auth.jwks_file: {auth.jwks_file} {error}") from error


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("auth.jwks_url is not an http(s) address")
    if parts.scheme == "http":
        log.warning("auth.jwks_url is plain http: whoever is on the way to %s can forge tokens", parts.hostname)


def _decode(token: str, key: Any, algorithm: str, auth: Auth) -> dict[str, Any]:
    required = ["exp", "aud", "sub"] + (["iss"] if auth.jwt_issuer is not None else [])
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=auth.jwt_audience,
        issuer=auth.jwt_issuer,
        leeway=LEEWAY,
        options={"require": required},
    )


def _principal(claims: dict[str, Any]) -> Principal:
    name = claims.get("name")
    return Principal(
        subject=claims["sub"],
        roles=_roles(claims),
        expires_at=float(claims["exp"]) + LEEWAY.total_seconds(),
        sessions=_sessions(claims),
        name=name[:MAX_NAME_CHARS] if isinstance(name, str) and name else None,
    )


def _sessions(claims: dict[str, Any]) -> frozenset[str] | None:
    """Chat sessions from `sessions`, a list of ids; `"*"` is all of them."""
    named = claims.get("sessions", [])
    if named == "*":
        return None
    return frozenset(item for item in named if isinstance(item, str)) if isinstance(named, list) else frozenset()


def _roles(claims: dict[str, Any]) -> frozenset[Role]:
    """Roles from `roles` (a list) or `role` (one); names of other systems' roles mean nothing here."""
    named = claims.get("roles", claims.get("role", []))
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return frozenset(role for role in Role if role in names)


_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience (aud)",
    jwt.InvalidIssuerError: "the token is from another issuer (iss)",
    jwt.InvalidSignatureError: "the token's signature does not hold",
}


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token lacks the claim {error.claim}"
    return _REASONS.get(type(error), "the token is not valid")
