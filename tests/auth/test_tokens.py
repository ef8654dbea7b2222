import base64
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from fleetpulse.auth import Role
from fleetpulse.auth.tokens import LEEWAY, MAX_TOKEN_CHARS, Tokens, issue
from fleetpulse.config import Auth
from fleetpulse.errors import ConfigError, UnauthenticatedError

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - it must be refused


def soon() -> int:
    return int((datetime.now(UTC) + timedelta(hours=1)).timestamp())


def claims(**changes: Any) -> dict[str, Any]:
    made = {"sub": "ann", "aud": "fleetpulse", "exp": soon(), "roles": ["viewer"]} | changes
    return {name: value for name, value in made.items() if value is not None}


def hs256(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, "HS256")


def rs256(key: rsa.RSAPrivateKey = PRIVATE, kid: str | None = "one", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, "RS256", headers={"kid": kid} if kid else None)


def jwk(key: rsa.RSAPrivateKey, kid: str | None, **more: Any) -> dict[str, Any]:
    entry: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | more
    return entry | ({"kid": kid} if kid else {})


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


class Issuer:
    """A JWKS endpoint: what it answers, and how often it was asked."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.answer = jwks(*entries)
        self.down = False
        self.asked = 0
        self.now = 1_000.0

    async def __call__(self) -> bytes:
        self.asked += 1
        if self.down:
            raise ConnectionRefusedError("connection refused")
        return self.answer

    def clock(self) -> float:
        return self.now

    def tokens(self, **auth: Any) -> Tokens:
        return Tokens.from_settings(Auth(jwks_url="https://issuer.example/jwks", **auth), self.clock, self)


def secret_tokens(**auth: Any) -> Tokens:
    return Tokens.from_settings(Auth(jwt_secret=SECRET, **auth), lambda: 0.0)


async def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await tokens.verify(token)
    assert token not in caught.value.detail or not token
    return caught.value.detail


async def test_an_issued_token_verifies_with_subject_roles_and_expiry() -> None:
    auth = Auth(jwt_secret=SECRET, jwt_issuer="us")
    now = datetime.now(UTC).replace(microsecond=0)
    token = issue(auth, subject="ann", roles=[Role.ADMIN, Role.VIEWER], lifetime=timedelta(hours=2), now=now)
    principal = await Tokens.from_settings(auth, lambda: 0.0).verify(token)
    assert principal.subject == "ann"
    assert principal.roles == {Role.ADMIN, Role.VIEWER}
    assert principal.expires_at == (now + timedelta(hours=2) + LEEWAY).timestamp()


def test_nothing_is_issued_without_a_secret_or_a_subject() -> None:
    with pytest.raises(ConfigError, match="FLEETPULSE_AUTH__JWT_SECRET_FILE"):
        issue(Auth(), subject="ann", roles=[Role.ADMIN], lifetime=timedelta(hours=1))
    with pytest.raises(ConfigError, match="subject"):
        issue(Auth(jwt_secret=SECRET), subject=" ", roles=[Role.ADMIN], lifetime=timedelta(hours=1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": 1_000}, "expired"),
        ({"exp": None}, "claim exp"),
        ({"exp": "soon"}, "not valid"),
        ({"exp": 1e400}, "not valid"),
        ({"nbf": 2**33}, "not valid yet"),
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "claim aud"),
        ({"sub": None}, "claim sub"),
        ({"iss": "another"}, "issuer"),
        ({"iss": None}, "claim iss"),
    ],
)
async def test_claims_that_do_not_hold(changes: dict[str, Any], reason: str) -> None:
    tokens = secret_tokens(jwt_issuer="us")
    assert reason in await refusal(tokens, hs256(**({"iss": "us"} | changes)))


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"roles": ["operator", "editor"]}, {Role.OPERATOR}),
        ({"roles": None, "role": "reporter"}, {Role.REPORTER}),
        ({"roles": "admin"}, {Role.ADMIN}),
        ({"roles": None}, set()),
        ({"roles": {"admin": True}}, set()),
        ({"roles": [["admin"], 7, None, "viewer"]}, {Role.VIEWER}),
    ],
)
async def test_roles_come_from_either_claim_and_unknown_ones_mean_nothing(
    changes: dict[str, Any], roles: set[Role]
) -> None:
    assert (await secret_tokens().verify(hs256(**changes))).roles == roles


def unsigned(header: dict[str, Any], payload: dict[str, Any]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, payload)
    ]
    return ".".join([*parts, ""])


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS384", "ES256", None, 7, ["HS256"]])
async def test_no_other_algorithm_is_accepted(alg: object) -> None:
    await refusal(secret_tokens(), unsigned({"alg": alg, "typ": "JWT"}, claims()))
    await refusal(Issuer(jwk(PRIVATE, "one")).tokens(), unsigned({"alg": alg, "kid": "one"}, claims()))


async def test_a_public_key_is_no_hs256_secret() -> None:
    """The classic confusion: the attacker signs HS256 with the issuer's public key as text."""
    import hashlib  # noqa: PLC0415 - forging by hand is this test's business alone
    import hmac  # noqa: PLC0415

    public = PRIVATE.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = unsigned({"alg": "HS256", "typ": "JWT", "kid": "one"}, claims(roles=["admin"])).rstrip(".")
    mac = hmac.new(public, body.encode(), hashlib.sha256).digest()
    forged = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    await refusal(Issuer(jwk(PRIVATE, "one")).tokens(), forged)
    await refusal(Issuer(jwk(PRIVATE, "one")).tokens(jwt_secret=SECRET), forged)


async def test_secret_and_key_set_work_side_by_side() -> None:
    tokens = Issuer(jwk(PRIVATE, "one")).tokens(jwt_secret=SECRET)
    assert (await tokens.verify(hs256())).subject == "ann"
    assert (await tokens.verify(rs256())).subject == "ann"
    assert "signature" in await refusal(tokens, rs256(OTHER))


async def test_keys_are_fetched_once_and_again_for_an_unknown_kid_but_not_often() -> None:
    issuer = Issuer(jwk(PRIVATE, "one"))
    tokens = issuer.tokens()
    for _ in range(3):
        await tokens.verify(rs256())
    assert issuer.asked == 1
    for _ in range(3):
        assert "not in the issuer's key set" in await refusal(tokens, rs256(OTHER, "two"))
    assert issuer.asked == 1
    issuer.answer = jwks(jwk(OTHER, "two"))
    issuer.now += 30
    assert (await tokens.verify(rs256(OTHER, "two"))).subject == "ann"
    assert issuer.asked == 2
    await refusal(tokens, rs256())  # rotated away


async def test_a_key_set_grows_old_and_a_withdrawn_key_stops_working() -> None:
    issuer = Issuer(jwk(PRIVATE, "one"), jwk(OTHER, "two"))
    tokens = issuer.tokens()
    await tokens.verify(rs256())
    issuer.answer = jwks(jwk(OTHER, "two"))
    issuer.now += 3_600
    await refusal(tokens, rs256())


async def test_an_issuer_that_is_down_refuses_with_a_reason_and_keeps_known_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer = Issuer(jwk(PRIVATE, "one"))
    issuer.down = True
    tokens = issuer.tokens()
    assert "keys (JWKS) are not available" in await refusal(tokens, rs256())
    assert "connection refused" in caplog.text
    issuer.down = False
    issuer.now += 30
    await tokens.verify(rs256())
    issuer.down = True
    issuer.now += 7_200
    await tokens.verify(rs256())


async def test_a_token_without_kid_needs_a_set_of_one() -> None:
    assert (await Issuer(jwk(PRIVATE, None)).tokens().verify(rs256(kid=None))).subject == "ann"
    assert (await Issuer(jwk(PRIVATE, "one")).tokens().verify(rs256(kid=None))).subject == "ann"
    await refusal(Issuer(jwk(PRIVATE, "one"), jwk(OTHER, "two")).tokens(), rs256(kid=None))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"keys": null}',
        b'{"keys": ["x", 7]}',
        b'{"keys": [{"kty": "RSA", "n": 7, "e": "AQAB"}]}',
        b"[" * 100_000,
        b'{"keys": []}' + b" " * 2**20,
        jwks({"kty": "oct", "k": "c2VjcmV0", "kid": "one"}),
        jwks(jwk(PRIVATE, "one", use="enc")),
        jwks(jwk(PRIVATE, "one", alg="RS512")),
        jwks(jwk(WEAK, "one")),
        jwks(jwk(PRIVATE, "one") | {"kid": ["one"]}),
    ],
)
async def test_a_key_set_without_a_usable_key_refuses(answer: bytes) -> None:
    issuer = Issuer()
    issuer.answer = answer
    await refusal(issuer.tokens(), rs256())


async def test_a_jwks_file_is_checked_at_start_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    clock = Issuer()
    auth = Auth(jwks_file=path)
    with pytest.raises(ConfigError, match=r"jwks\.json"):
        Tokens.from_settings(auth, clock.clock)
    path.write_bytes(jwks(jwk(WEAK, "one")))
    with pytest.raises(ConfigError, match="2048"):
        Tokens.from_settings(auth, clock.clock)
    path.write_bytes(jwks(jwk(PRIVATE, "one")))
    tokens = Tokens.from_settings(auth, clock.clock)
    assert (await tokens.verify(rs256())).subject == "ann"
    path.write_bytes(jwks(jwk(OTHER, "two")))
    clock.now += 30
    assert (await tokens.verify(rs256(OTHER, "two"))).subject == "ann"


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({"jwt_secret": "too short"}, "32 characters"),
        ({"jwt_secret": SECRET, "jwt_secret_file": "x"}, "keep one"),
        ({"jwt_secret_file": "/nowhere/secret"}, "/nowhere/secret"),
        ({"jwks_file": "x", "jwks_url": "https://x"}, "keep one"),
        ({"jwks_url": "ftp://x/jwks"}, "jwks_url"),
        ({"jwks_url": "http://["}, "jwks_url"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(auth: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Tokens.from_settings(Auth(**auth), lambda: 0.0)
    assert "too short" not in caught.value.detail
    assert SECRET not in caught.value.detail


async def test_a_secret_file_may_end_in_a_line_break(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    assert (await Tokens.from_settings(Auth(jwt_secret_file=path), lambda: 0.0).verify(hs256())).subject == "ann"


def test_a_plain_http_issuer_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Tokens.from_settings(Auth(jwks_url="http://issuer.example/jwks"), lambda: 0.0)
    assert "plain http" in caplog.text


async def test_a_long_token_is_refused_unread() -> None:
    assert "longer than" in await refusal(secret_tokens(), "x" * (MAX_TOKEN_CHARS + 1))


async def test_secrets_and_tokens_stay_out_of_logs_and_reprs(caplog: pytest.LogCaptureFixture) -> None:
    auth = Auth(jwt_secret=SECRET)
    tokens = Tokens.from_settings(auth, lambda: 0.0)
    with caplog.at_level(logging.DEBUG):
        expired = hs256(exp=1_000)
        await refusal(tokens, expired)
        await tokens.verify(hs256())
    seen = caplog.text + repr(auth) + repr(tokens) + repr(vars(tokens))
    assert SECRET not in seen
    assert expired not in seen


NESTED = base64.urlsafe_b64encode(b"[" * 5_000).decode()


@given(
    st.one_of(
        st.text(st.characters(codec=None)),
        st.tuples(st.binary(), st.binary(), st.binary()).map(
            lambda parts: ".".join(base64.urlsafe_b64encode(part).decode() for part in parts)
        ),
        st.dictionaries(
            st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk"]),
            st.none() | st.text() | st.lists(st.text()),
        ).map(lambda header: unsigned({"alg": "HS256"} | header, claims(roles=["admin"]))),
        st.sampled_from([NESTED + ".e30.", "e30." + NESTED + ".", "..", "...", "\ud800.\ud800.\ud800"]),
    )
)
async def test_no_made_up_token_is_accepted_or_breaks(token: str) -> None:
    await refusal(Issuer(jwk(PRIVATE, "one")).tokens(jwt_secret=SECRET), token)
