"""E-mails over real sockets: what arrives, how the connection is secured, and how failures are told."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.reports.sink import Sink, certificate

from fleetpulse.config import Reports
from fleetpulse.errors import InvalidInputError, UpstreamError
from fleetpulse.reports.mail import Attachment, Mail, Mailer

DATE = datetime(2025, 5, 12, 8, tzinfo=UTC)
MAIL = Mail(
    "Report: 日报", "plain text", "<p>页面</p>", (Attachment("r.csv", "csv", "a,b\r\n日,1\r\n"),), "id-1", DATE
)
Secure = Callable[[Sink], dict[str, Any]]


def mailer(sink: Sink, **settings: Any) -> Mailer:
    usual = {"smtp_host": "127.0.0.1", "smtp_port": sink.port, "smtp_security": "none"}
    people = {"sender": "Fleetpulse <reports@example.com>", "recipients": ["a@example.com", "B <b@example.com>"]}
    return Mailer(Reports.model_validate(usual | people | settings))


async def test_an_email_has_text_page_and_files() -> None:
    with Sink() as sink:
        assert await mailer(sink).send(MAIL) == ()
    (received,) = sink.received
    message = received.message
    assert received.sender == "reports@example.com"
    assert received.recipients == ["a@example.com", "b@example.com"]
    assert message["From"] == "Fleetpulse <reports@example.com>"
    assert message["To"] == "a@example.com, B <b@example.com>"
    assert message["Subject"] == "Report: 日报"
    assert message["Message-ID"] == "<id-1@example.com>"
    assert message["Date"].datetime == DATE
    assert message["Auto-Submitted"] == "auto-generated"
    plain, page = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert page is not None
    assert (plain.get_content().strip(), page.get_content().strip()) == ("plain text", "<p>页面</p>")
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == "r.csv"
    assert attached.get_content_type() == "text/csv"
    assert attached.get_content() == "a,b\n日,1\n" or attached.get_content() == "a,b\r\n日,1\r\n"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_connection_is_encrypted_before_the_password_goes_over_it(tmp_path: Path, security: str) -> None:
    pair = certificate(tmp_path)
    password = tmp_path / "password"
    password.write_text("secret one\n")
    with Sink(certificate=pair, tls_at_once=security == "tls", users={"me": "secret one"}) as sink:
        own = {"smtp_user": "me", "smtp_password_file": password, "smtp_ca_file": pair[0]}
        await mailer(sink, smtp_security=security, **own).send(MAIL)
    assert [(each.user, each.encrypted) for each in sink.received] == [("me", True)]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_does_not_hold_is_refused(tmp_path: Path, security: str) -> None:
    refused = pytest.raises(UpstreamError, match="certificate does not hold")
    with Sink(certificate=certificate(tmp_path), tls_at_once=security == "tls") as sink, refused:
        await mailer(sink, smtp_security=security).send(MAIL)
    assert sink.received == []


async def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "127.0.0.9")
    with Sink(certificate=pair) as sink, pytest.raises(UpstreamError, match="certificate does not hold"):
        await mailer(sink, smtp_security="starttls", smtp_ca_file=pair[0]).send(MAIL)


async def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for() -> None:
    with Sink() as sink, pytest.raises(UpstreamError, match="STARTTLS"):
        await mailer(sink, smtp_security="starttls").send(MAIL)
    assert sink.received == []


async def test_a_wrong_password_is_told_without_it(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    own = {"smtp_user": "me", "smtp_password": "wrong-secret", "smtp_ca_file": pair[0]}
    with Sink(certificate=pair, users={"me": "right"}) as sink, pytest.raises(UpstreamError) as caught:
        await mailer(sink, smtp_security="starttls", **own).send(MAIL)
    assert "535" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)


async def test_refused_recipients_are_named_and_the_others_get_it() -> None:
    with Sink(refused={"b@example.com"}) as sink:
        assert await mailer(sink).send(MAIL) == ("b@example.com",)
    assert [each.recipients for each in sink.received] == [["a@example.com"]]


async def test_where_every_recipient_is_refused_it_failed() -> None:
    with Sink(refused={"a@example.com", "b@example.com"}) as sink, pytest.raises(UpstreamError, match="550"):
        await mailer(sink).send(MAIL)


async def test_a_refused_message_is_told_in_the_servers_words() -> None:
    with (
        Sink(answers=["552 5.3.4 too large for us"]) as sink,
        pytest.raises(UpstreamError, match="too large for us"),
    ):
        await mailer(sink).send(MAIL)


async def test_a_server_that_is_away_is_told() -> None:
    with Sink() as sink:
        gone = mailer(sink)
    with pytest.raises(UpstreamError, match="mail server"):
        await gone.send(MAIL)


async def test_a_line_break_never_becomes_a_header() -> None:
    with Sink() as sink, pytest.raises(ValueError, match="linefeed"):
        await mailer(sink).send(Mail("a\r\nBcc: x@example.com", "t", "h", (), "id", DATE))
    assert sink.received == []


async def test_without_a_server_it_says_which_settings_are_missing() -> None:
    with pytest.raises(InvalidInputError, match=r"reports\.smtp_host, reports\.sender, reports\.recipients"):
        await Mailer(Reports()).send(MAIL)
