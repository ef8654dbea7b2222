import hashlib
import hmac
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetpulse.auth import Role
from fleetpulse.auth.keys import KeyStore, bearer, create, list_keys, revoke, split_bearer
from fleetpulse.errors import ConfigError, NotFoundError, UnauthenticatedError


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "app-keys.json"


def test_a_made_key_verifies_and_carries_its_name_role_and_pool(path: Path) -> None:
    key, secret = create(path, name="bot", role=Role.REPORTER, pool_id="east")
    kept = KeyStore(path, Clock()).verify(key, secret)
    assert (kept.name, kept.role, kept.pool_id) == ("bot", Role.REPORTER, "east")


def test_the_file_is_private_and_holds_only_the_hash(path: Path) -> None:
    key, secret = create(path, name="bot", role=Role.REPORTER)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert secret not in text
    assert json.loads(text)["keys"][0]["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert len(bytes.fromhex(secret)) == 32
    kept = list_keys(path)[0]
    assert kept.key == key
    assert kept.secret_sha256 not in repr(kept)


def test_replacing_the_file_keeps_its_mode_and_leaves_nothing_behind(path: Path) -> None:
    create(path, name="a", role=Role.VIEWER)
    (path.parent / "app-keys.json.part").write_text("left by a crash")
    create(path, name="b", role=Role.VIEWER)
    assert [kept.name for kept in list_keys(path)] == ["a", "b"]
    assert [file.name for file in path.parent.iterdir()] == ["app-keys.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_keys_made_at_once_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create(path, name=f"bot-{n}", role=Role.REPORTER), range(24)))
    assert {kept.key for kept in list_keys(path)} == {key for key, _ in made}


def test_a_name_that_is_no_label_makes_no_key(path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        create(path, name=" ", role=Role.VIEWER)
    assert not path.exists()


def test_a_running_store_notices_new_and_revoked_keys_within_a_second(path: Path) -> None:
    clock = Clock()
    store = KeyStore(path, clock)
    assert not store.configured
    key, secret = create(path, name="bot", role=Role.REPORTER)
    clock.now += 1
    assert store.configured
    assert store.verify(key, secret).key == key
    revoke(path, key)
    clock.now += 1
    with pytest.raises(UnauthenticatedError):
        store.verify(key, secret)


def test_revoking_or_deleting_the_last_key_opens_nothing(path: Path) -> None:
    clock = Clock()
    key, secret = create(path, name="bot", role=Role.REPORTER)
    revoke(path, key)
    store = KeyStore(path, clock)
    assert store.configured
    path.unlink()
    clock.now += 1
    assert store.configured
    with pytest.raises(UnauthenticatedError):
        store.verify(key, secret)


def test_a_file_damaged_while_running_changes_nothing_and_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    key, secret = create(path, name="bot", role=Role.REPORTER)
    store = KeyStore(path, clock)
    path.write_text(f'{{"keys": [{{"secret": "{secret}"')
    clock.now += 1
    with caplog.at_level(logging.DEBUG):
        assert store.verify(key, secret).key == key
    assert "app keys stay as they were" in caplog.text
    assert secret not in caplog.text


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 2, "keys": []}', '{"keys": [{"key": "x"}]}'])
def test_a_damaged_file_stops_the_start_and_names_itself(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"app-keys\.json"):
        KeyStore(path, Clock())


def test_revoking_twice_keeps_the_first_time_and_unknown_keys_are_not_found(path: Path) -> None:
    key, _ = create(path, name="bot", role=Role.REPORTER)
    revoke(path, key)
    first = list_keys(path)[0].revoked_at
    revoke(path, key)
    assert first is not None
    assert list_keys(path)[0].revoked_at == first
    with pytest.raises(NotFoundError):
        revoke(path, "0" * 16)


def test_unknown_wrong_and_revoked_are_told_apart_by_nobody(path: Path) -> None:
    good, secret = create(path, name="bot", role=Role.REPORTER)
    gone, gone_secret = create(path, name="old", role=Role.REPORTER)
    revoke(path, gone)
    store = KeyStore(path, Clock())
    tries = [(good, secret[:-1] + "x"), ("f" * 16, secret), (gone, gone_secret), ("", ""), (good, "")]
    details = set()
    for key, attempt in tries:
        with pytest.raises(UnauthenticatedError) as caught:
            store.verify(key, attempt)
        details.add(caught.value.detail)
    assert len(details) == 1


def test_an_unknown_key_is_compared_like_a_known_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = create(path, name="bot", role=Role.REPORTER)
    store = KeyStore(path, Clock())
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)  # time is not asserted; the same work is
    store.verify(key, secret)
    with pytest.raises(UnauthenticatedError):
        store.verify("f" * 16, secret)
    assert compared == [(64, 64), (64, 64)]


def test_one_value_for_a_bearer_header_holds_both_halves() -> None:
    assert split_bearer(bearer("ab", "cd")) == ("ab", "cd")
    assert split_bearer("eyJhbGciOi.x.y") is None
    assert split_bearer("fp_") == ("", "")


@settings(max_examples=200)
@given(key=st.text(st.characters(codec=None)), secret=st.text(st.characters(codec=None)))
def test_no_made_up_pair_verifies_or_breaks(
    tmp_path_factory: pytest.TempPathFactory, key: str, secret: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "property-keys.json"
    if not path.exists():
        create(path, name="bot", role=Role.REPORTER)
    store = KeyStore(path, Clock())
    for known in (key, list_keys(path)[0].key):
        with pytest.raises(UnauthenticatedError):
            store.verify(known, secret)
