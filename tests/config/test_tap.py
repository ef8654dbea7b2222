"""The server that an option or a variable names, and the switch that turns listening off."""

import pytest

from fleetpulse.config import load
from fleetpulse.errors import ConfigError

ROOM = {"name": "room", "url": "wss://a.example.org/"}
URL = "wss://b.example.org/"


def test_a_url_is_one_more_stream_that_connects_at_once() -> None:
    room, main = load(tap={"streams": [ROOM], "url": URL}).tap.streams
    assert (room.name, main.name, main.url, main.allow_private) == ("room", "main", URL, False)
    assert main.reconnect.first_seconds == 0
    assert load(tap={"url": "ws://localhost/", "allow_private": True}).tap.streams[0].allow_private


def test_it_is_the_address_of_a_stream_called_main() -> None:
    (main,) = load(tap={"streams": [ROOM | {"name": "main", "preset": "raw"}], "url": URL}).tap.streams
    assert (main.url, main.preset) == (URL, "raw")


def test_rules_may_name_it() -> None:
    rule = {"name": "r", "keywords": ["x"], "streams": ["main"]}
    assert load(tap={"url": URL, "rules": [rule]}).tap.rules[0].streams == ("main",)
    with pytest.raises(ConfigError, match="streams that are not there: main"):
        load(tap={"rules": [rule]})


def test_listening_can_be_switched_off() -> None:
    assert [each.enabled for each in load(tap={"streams": [ROOM], "url": URL, "enabled": False}).tap.streams] == [
        False,
        False,
    ]


@pytest.mark.parametrize("url", ["", "b.example.org", "https://b.example.org/", "wss://user:hush@b.example.org/"])
def test_what_is_no_websocket_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"tap\.url: ") as error:
        load(tap={"url": url})
    assert "hush" not in error.value.detail


def test_two_streams_of_one_name_are_still_refused() -> None:
    with pytest.raises(ConfigError, match="two streams have one name"):
        load(tap={"streams": [ROOM, ROOM], "url": URL})
