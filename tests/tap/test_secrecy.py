import base64
from pathlib import Path
from typing import Any

import pytest
from tests.tap.stage import source_of

from fleetpulse.config.tap import Message
from fleetpulse.errors import ConfigError
from fleetpulse.tap.secrecy import MAX_KNOWN, Secrecy


def secrecy(url: str = "ws://a.example/", **settings: Any) -> Secrecy:
    return Secrecy(source_of(url, **settings))


def text(value: str) -> Message:
    return Message.model_validate({"text": value})


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text('se"cret\n')
    return path


@pytest.mark.parametrize(
    ("message", "filled"),
    [
        ("LOGIN ${WORD}", 'LOGIN se"cret'),
        ('{"word": "${WORD}"}', '{"word": "se\\"cret"}'),
        ('{"word": ${WORD}}', '{"word": se"cret}'),
        ("costs $5, ${}", "costs $5, ${}"),
    ],
)
def test_names_are_filled_in_as_the_message_needs_them(password: Path, message: str, filled: str) -> None:
    assert secrecy(secrets={"WORD": password}).content(text(message)).decode() == filled


def test_a_name_that_is_unknown_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match="WORD"):
        secrecy().content(text("${WORD}"))


def test_files_are_read_each_time(tmp_path: Path, password: Path) -> None:
    file = tmp_path / "message"
    message = Message.model_validate({"file": file})
    it = secrecy(secrets={"WORD": password})
    for content in ("one ${WORD}", "two ${WORD}"):
        file.write_text(content)
        assert it.content(message).decode() == content.replace("${WORD}", 'se"cret')


def test_what_was_used_is_struck_out(password: Path) -> None:
    it = secrecy(
        "ws://a.example/?token=in-query&transport=websocket",
        secrets={"WORD": password},
        headers={"Authorization": "Bearer in-header"},
        proxy="http://me:in%2Dproxy@b.example:80",
    )
    it.headers()
    it.content(text("${WORD}"))
    encoded = base64.b64encode(b'se"cret').decode()
    assert it.hide(f'in-query in-header in-proxy se"cret {encoded} websocket') == "*** *** *** *** *** websocket"


def test_rotated_tokens_are_not_kept_for_ever(tmp_path: Path) -> None:
    token = tmp_path / "token"
    it = secrecy(header_files={"X-Token": token})
    for number in range(MAX_KNOWN):
        token.write_text(f"token-{number}")
        it.headers()
    assert it.hide("token-0 token-199") == "token-0 ***"
