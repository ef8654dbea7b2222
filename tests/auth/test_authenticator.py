import logging
from pathlib import Path
from typing import Any

import pytest

from fleetpulse.auth import ANONYMOUS, Authenticator, Credentials, Role, ensure_safe
from fleetpulse.auth.keys import bearer, create
from fleetpulse.config import Settings
from fleetpulse.errors import ConfigError, UnauthenticatedError

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone
ANYWHERE = "0.0.0.0"  # noqa: S104 - what must be refused


def settings(folder: Path, **changes: Any) -> Settings:
    return Settings(data_dir=folder, **changes)


async def test_with_nothing_configured_everyone_is_anonymous_whatever_they_send(tmp_path: Path) -> None:
    authenticator = Authenticator.from_settings(settings(tmp_path))
    assert not authenticator.enabled
    for credentials in (Credentials(), Credentials("a", "b"), Credentials(bearer="nonsense")):
        assert await authenticator.authenticate(credentials) == ANONYMOUS


async def test_a_key_works_as_headers_and_as_bearer(tmp_path: Path) -> None:
    own = settings(tmp_path)
    key, secret = create(own.app_keys_path, name="bot", role=Role.REPORTER, pool_id="east")
    authenticator = Authenticator.from_settings(own)
    assert authenticator.enabled
    for credentials in (Credentials(key, secret), Credentials(bearer=bearer(key, secret))):
        principal = await authenticator.authenticate(credentials)
        assert principal.roles == {Role.REPORTER}
        assert principal.pool_id == "east"
        assert "bot" in principal.subject
        assert secret not in repr(principal)


async def test_once_a_credential_is_configured_every_call_needs_one(tmp_path: Path) -> None:
    own = settings(tmp_path, auth={"jwt_secret": SECRET})
    authenticator = Authenticator.from_settings(own)
    assert authenticator.enabled
    for credentials in (
        Credentials(),
        Credentials(bearer=""),
        Credentials("key", None),
        Credentials(None, "secret"),
        Credentials(bearer="fp_a_b"),
        Credentials(bearer="a.b.c"),
    ):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate(credentials)


async def test_the_first_key_turns_credentials_on_while_running(tmp_path: Path) -> None:
    own = settings(tmp_path)
    now = 0.0
    authenticator = Authenticator.from_settings(own, monotonic=lambda: now)
    assert not authenticator.enabled
    create(own.app_keys_path, name="bot", role=Role.REPORTER)
    now = 1.0
    assert authenticator.enabled


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_is_safe_with_nothing_configured(tmp_path: Path, host: str) -> None:
    ensure_safe(settings(tmp_path, host=host))


@pytest.mark.parametrize("host", [ANYWHERE, "::", "192.168.1.5", "example.com", ""])
@pytest.mark.parametrize("have", ["nothing", "key", "secret"])
def test_any_other_address_needs_both_kinds_of_credentials(tmp_path: Path, host: str, have: str) -> None:
    own = settings(tmp_path, host=host, auth={"jwt_secret": SECRET} if have == "secret" else {})
    if have == "key":
        create(own.app_keys_path, name="bot", role=Role.REPORTER)
    with pytest.raises(ConfigError) as caught:
        ensure_safe(own)
    detail = caught.value.detail
    assert ("fleetpulse token key" in detail) == (have != "key")
    assert ("FLEETPULSE_AUTH__JWT_SECRET_FILE" in detail) == (have != "secret")
    assert "FLEETPULSE_AUTH__ALLOW_UNAUTHENTICATED=true" in detail
    assert "can read and write everything" in detail


def test_any_other_address_is_safe_with_both(tmp_path: Path) -> None:
    own = settings(tmp_path, host=ANYWHERE, auth={"jwt_secret": SECRET})
    create(own.app_keys_path, name="bot", role=Role.REPORTER)
    ensure_safe(own)


def test_told_so_in_plain_words_it_starts_openly_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ensure_safe(settings(tmp_path, host=ANYWHERE, auth={"allow_unauthenticated": True}))
    assert "WITHOUT credentials" in caplog.text


async def test_told_so_with_a_key_configured_it_still_asks_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = settings(tmp_path, host=ANYWHERE, auth={"allow_unauthenticated": True})
    create(own.app_keys_path, name="bot", role=Role.REPORTER)
    ensure_safe(own)
    assert "WITHOUT" not in caplog.text
    with pytest.raises(UnauthenticatedError):
        await Authenticator.from_settings(own).authenticate(Credentials())
