from pathlib import Path

import pytest

from fleetpulse.client import Monitor
from fleetpulse.client.environment import Given, resolve


def test_code_wins_over_the_environment_and_that_over_defaults() -> None:
    env = {"FLEETPULSE_URL": "http://env:1/", "FLEETPULSE_SOURCE": "env", "HOME": "/nowhere"}
    assert resolve(Given(), {}).target.url == "http://127.0.0.1:8001"
    assert resolve(Given(), env).target.url == "http://env:1"
    assert resolve(Given(), env).source == "env"
    assert resolve(Given(url="http://code:2", source="code"), env).target.url == "http://code:2"
    assert resolve(Given(source="code"), env).source == "code"
    assert resolve(Given(), {"OTEL_SERVICE_NAME": "otel"}).source == "otel"


def test_credentials() -> None:
    keys = {"FLEETPULSE_APP_KEY": "k", "FLEETPULSE_APP_SECRET": "s\n"}
    assert resolve(Given(), keys).target.headers == {"X-App-Key": "k", "X-App-Secret": "s"}
    assert resolve(Given(token="t"), keys).target.headers == {"Authorization": "Bearer t"}  # noqa: S106 - a test's
    assert "s" not in repr(resolve(Given(app_secret="hidden"), keys).target).replace("https", "").split("url")[0]  # noqa: S106


@pytest.mark.parametrize("secret", ["with\nnewline", "中文", " ", "\x7f"])
def test_a_credential_that_no_header_takes_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="app_secret") as caught:
        Monitor(app_key="k", app_secret=secret)
    assert secret.strip() == "" or secret not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host", "localhost:8001", "http://", "http://host:port", "", " "])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|port|Port"):
        resolve(Given(url=url or "//"), {})


def test_an_addresss_own_credentials_are_left_out() -> None:
    assert resolve(Given(url="https://user:secret@host:1/path/?q=1"), {}).target.url == "https://host:1/path"


@pytest.mark.parametrize("word", ["0", "false", "NO", "off"])
def test_switching_off(word: str) -> None:
    assert not resolve(Given(), {"FLEETPULSE_ENABLED": word}).enabled
    assert resolve(Given(), {"FLEETPULSE_ENABLED": "true"}).enabled
    assert resolve(Given(enabled=True), {"FLEETPULSE_ENABLED": word}).enabled


def test_where_records_wait() -> None:
    env = {"XDG_STATE_HOME": "/state"}
    here = resolve(Given(), env).spool
    assert here is not None
    assert here.parent == Path("/state/fleetpulse/spool")
    assert here.name.startswith("127.0.0.1-8001-")
    assert resolve(Given(spool=None), env).spool is None
    assert resolve(Given(), env | {"FLEETPULSE_SPOOL": "off"}).spool is None
    assert resolve(Given(), env | {"FLEETPULSE_SPOOL": "/mine"}).spool == Path("/mine") / here.name


def test_records_for_one_server_and_key_are_never_another_ones() -> None:
    given = [Given(), Given(url="http://127.0.0.1:8001/other"), Given(app_key="a"), Given(app_key="b")]
    assert len({resolve(one, {"XDG_STATE_HOME": "/s"}).spool for one in given}) == 4


def test_bounds_are_checked() -> None:
    for wrong in ({"queue_size": 0}, {"batch_size": 10_001}, {"timeout": -1.0}, {"spool_bytes": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Monitor(**wrong)
