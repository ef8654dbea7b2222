"""What the alerting section refuses, it names; what it takes, Alertmanager takes (tests/stack/alerting)."""

from typing import Any

import pytest

from fleetpulse.config import load
from fleetpulse.config.alerting import Alerting
from fleetpulse.errors import ConfigError

HOOK = {"name": "hook", "url": "https://example.com/x"}
MAIL = {"name": "a", "to": ["a@example.com"]}
SNS = {"name": "a", "region": "eu-central-1"}
TELEGRAM = {"name": "a", "bot_token": "1:x", "chat_ids": [1]}
WECHAT = {"name": "a", "corp_id": "c", "agent_id": "1"}


def wrong(text: str, **section: Any) -> None:
    with pytest.raises(ConfigError, match=text):
        load(alerting=section)


def test_nothing_set_is_nothing_configured() -> None:
    assert not load().alerting.configured
    assert load(alerting={"webhook": [HOOK]}).alerting.configured
    assert load(alerting={}).alerting == Alerting()


@pytest.mark.parametrize("name", ["", "nobody", "people", "a/b", "a (email)", " a", "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    wrong(r"alerting\.webhook\.0", webhook=[HOOK | {"name": name}])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://a",
        "http://",
        "http://user:p@host/",
        "http://a b",
        "http://a/{{ .x }}",
        "http://a/%zz",
    ],
)
def test_addresses_that_cannot_be(url: str) -> None:
    wrong(r"alerting\.webhook\.0\.url", webhook=[HOOK | {"url": url}])


@pytest.mark.parametrize(
    ("kind", "channel", "text"),
    [
        ("webhook", {"name": "a"}, "give one of url, url_file"),
        ("webhook", HOOK | {"url_file": "x"}, "give one of url, url_file"),
        ("webhook", HOOK | {"token": "t", "user": "u", "password": "p"}, "at most one of token"),
        ("webhook", HOOK | {"user": "u"}, "give one of password"),
        ("webhook", HOOK | {"password": "p"}, "needs user"),
        ("webhook", HOOK | {"colour": "red"}, "Extra inputs"),
        ("email", MAIL | {"smtp_port": 25}, "smtp_port needs smtp_host"),
        ("email", MAIL | {"smtp_host": "h", "smtp_user": "u"}, "give one of smtp_password"),
        ("email", MAIL | {"smtp_host": "h", "smtp_password": "p"}, "needs smtp_user"),
        ("email", MAIL | {"to": ["a@example.com\nBcc: b@example.com"]}, "characters"),
        ("sns", SNS, "give one of phones"),
        ("sns", SNS | {"phones": ["0151"]}, "pattern"),
        ("sns", SNS | {"phones": ["+4915112345678"], "topic_arn": "arn:aws:sns:x"}, "give one of phones"),
        ("sns", SNS | {"phones": ["+4915112345678"], "access_key": "k"}, "give one of secret_key"),
        ("sns", SNS | {"phones": ["+4915112345678"], "secret_key": "k"}, "needs access_key"),
        ("telegram", TELEGRAM | {"chat_ids": [0]}, "no id of a chat"),
        ("telegram", TELEGRAM | {"chat_ids": [2**63]}, "no id of a chat"),
        ("telegram", TELEGRAM | {"bot_token": "a\nb"}, "characters that no secret has"),
        ("wechat", WECHAT | {"secret": "s"}, "give to_user"),
        ("slack", {"name": "a", "api_url": "https://a/b", "channel": "a\nb"}, "line breaks"),
    ],
)
def test_channels_that_cannot_be(kind: str, channel: dict[str, Any], text: str) -> None:
    wrong(rf"alerting\.{kind}\.0.*{text}", **{kind: [channel]})


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"routes": [{"receivers": ["who"]}]}, "routes: who names nothing"),
        ({"routes": [{"receivers": []}]}, "at least 1 item"),
        ({"routes": [{"receivers": ["hook"], "mute_during": ["never"]}]}, "routes: never names nothing"),
        ({"default_receivers": ["who"]}, "default_receivers: who"),
        ({"notify_sms": ["hook"]}, "notify_sms: hook names nothing of the kind"),
        ({"users": [{"user_id": "u", "receivers": ["who"]}]}, "users: who"),
        ({"users": [{"user_id": "u", "receivers": ["hook"]}] * 2}, "one user is there twice"),
        ({"routes": [{"receivers": ["hook"], "matchers": ["a=b"]}]}, "is not a matcher"),
        ({"routes": [{"receivers": ["hook"], "matchers": ['a="b", c="d"']}]}, "is not a matcher"),
        ({"routes": [{"receivers": ["hook"], "group_wait": "5 m"}]}, "is not a duration"),
        ({"routes": [{"receivers": ["hook"], "repeat_interval": "0s"}]}, "longer than nothing"),
        ({"time_intervals": [{"name": "x", "start": "8", "end": "9:00"}]}, "pattern"),
        ({"time_intervals": [{"name": "x", "start": "08:00", "end": "08:00"}]}, "ends when it starts"),
        ({"time_intervals": [{"name": "x", "end": "00:00"}]}, "ends when it starts"),
        ({"time_intervals": [{"name": "x", "start": "22:00", "end": "01:00", "months": [1]}]}, "by weekdays alone"),
        ({"time_intervals": [{"name": "x", "days_of_month": ["0"]}]}, "day of the month"),
        ({"time_intervals": [{"name": "x", "days_of_month": ["-1:-3"]}]}, "from an earlier day"),
        ({"time_intervals": [{"name": "x", "days_of_month": ["1:-3"]}]}, "same end of the month"),
        ({"time_intervals": [{"name": "quiet hours"}]}, "a name that Fleetpulse uses itself"),
        ({"quiet_hours": [{"start": "22:00", "end": "08:00", "timezone": "Nowhere"}]}, "is not a time zone"),
        ({"watchdog_url": "https://a", "watchdog_url_file": "b"}, "at most one of watchdog_url"),
    ],
)
def test_sections_that_cannot_be(section: dict[str, Any], text: str) -> None:
    wrong(text, webhook=[HOOK], **section)


def test_secrets_are_not_shown_with_the_settings() -> None:
    section = load(alerting={"webhook": [HOOK | {"token": "hook-secret"}]}).alerting
    assert "hook-secret" not in repr(section)
    assert "example.com/x" not in repr(section)


def test_it_can_be_set_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETPULSE_ALERTING__WEBHOOK", '[{"name": "hook", "url": "https://example.com/x"}]')
    monkeypatch.setenv("FLEETPULSE_ALERTING__LANG", "zh")
    section = load().alerting
    assert (section.names, section.lang) == (("hook",), "zh")
