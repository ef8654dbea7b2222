import stat
import time
from pathlib import Path

import pytest

from fleetpulse.auth import Role
from fleetpulse.auth.keys import KeyStore, create, list_keys, revoke, split_bearer
from fleetpulse.config import Auth, Settings
from fleetpulse.stack.access import PLACEHOLDER, StackToken


def settings(folder: Path, **auth: str) -> Settings:
    return Settings(data_dir=folder, auth=Auth.model_validate(auth))


def holds(given: Settings, token: str) -> bool:
    pair = split_bearer(token)
    assert pair is not None
    return KeyStore(given.app_keys_path, time.monotonic).verify(*pair).role is Role.OPERATOR


def test_without_credentials_no_key_is_made(tmp_path: Path) -> None:
    token = StackToken(settings(tmp_path), tmp_path / "run" / "token")
    token.refresh()
    assert token.path.read_text() == PLACEHOLDER
    assert not settings(tmp_path).app_keys_path.exists()


@pytest.mark.parametrize("reason", ["a key", "a secret"])
def test_with_credentials_a_key_is_made_and_kept_over_restarts(tmp_path: Path, reason: str) -> None:
    given = settings(tmp_path, **({"jwt_secret": "s" * 40} if reason == "a secret" else {}))
    if reason == "a key":
        create(given.app_keys_path, name="bot", role=Role.REPORTER)
    path = tmp_path / "run" / "token"
    StackToken(given, path).refresh()
    first = path.read_text()
    assert holds(given, first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    StackToken(given, path).refresh()
    assert path.read_text() == first


def test_a_revoked_key_is_replaced(tmp_path: Path) -> None:
    given = settings(tmp_path, jwt_secret="s" * 40)
    path = tmp_path / "token"
    StackToken(given, path).refresh()
    first = path.read_text()
    revoke(given.app_keys_path, list_keys(given.app_keys_path)[0].key)
    StackToken(given, path).refresh()
    assert path.read_text() != first
    assert holds(given, path.read_text())
