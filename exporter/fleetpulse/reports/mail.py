"""E-mails: composing them, and handing them to the mail server.

Promises: the server's certificate is verified; nothing from outside becomes a header (the `email` package refuses
line breaks in them); the password is in no error and no log. The conversation runs on a thread of its own, which
never holds up the end of the process.
"""

import asyncio
import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Literal, TypeVar, cast

from fleetpulse import config
from fleetpulse.errors import InvalidInputError, UpstreamError

SECONDS = 30.0  # for each step of the conversation
PORTS: dict[Literal["starttls", "tls", "none"], int] = {"starttls": 587, "tls": 465, "none": 25}
NAME = "the mail server"

T = TypeVar("T")


@dataclass(frozen=True)
class Attachment:
    """A file of text: its name, `html` or `csv`, what it holds."""

    name: str
    subtype: str
    text: str


@dataclass(frozen=True)
class Mail:
    """What is sent: the same in plain text and in HTML, and files."""

    subject: str
    text: str
    html: str
    attachments: Sequence[Attachment]
    message_id: str  # without brackets and domain
    date: datetime


class Mailer:
    """Sends to the configured recipients, and to nobody else."""

    def __init__(self, settings: config.Reports) -> None:
        self._settings = settings

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets the e-mails."""
        return self._settings.recipients

    def require(self) -> None:
        """Raises InvalidInputError that says what is not configured."""
        settings = self._settings
        missing = [name for name in ("smtp_host", "sender", "recipients") if not getattr(settings, name)]
        if missing:
            raise InvalidInputError(f"e-mail is not set up: reports.{', reports.'.join(missing)}")

    async def send(self, mail: Mail) -> tuple[str, ...]:
        """Hands an e-mail to the mail server; returns the recipients that it refused, if it took any.

        Raises UpstreamError, also where it refused all, and InvalidInputError where e-mail is not set up.
        """
        self.require()
        message = self._compose(mail)
        return await _on_thread(lambda: self._hand_over(message))

    def _compose(self, mail: Mail) -> EmailMessage:
        sender = self._settings.sender or ""
        message = EmailMessage(policy=SMTP)
        message["From"] = sender
        message["To"] = ", ".join(self._settings.recipients)
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(mail.date)
        domain = sender.rpartition("@")[2].rstrip("> ")
        message["Message-ID"] = f"<{mail.message_id}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notices in answer
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        for each in mail.attachments:
            message.add_attachment(each.text, subtype=each.subtype, filename=each.name)
        return message

    def verify(self) -> None:
        """Connects and logs in, and sends nothing. Blocks; raises UpstreamError."""
        with _explained(), self._conversation():
            pass

    def _hand_over(self, message: EmailMessage) -> tuple[str, ...]:
        with _explained(), self._conversation() as server:
            return tuple(server.send_message(message))

    @contextmanager
    def _conversation(self) -> Iterator[smtplib.SMTP]:
        server = self._connect()
        try:
            self._log_in(server)
            yield server
        finally:
            with suppress(smtplib.SMTPException, OSError):  # it has the e-mail, or an error says why not
                server.quit()

    def _connect(self) -> smtplib.SMTP:
        settings = self._settings
        host, port = settings.smtp_host or "", settings.smtp_port or PORTS[settings.smtp_security]
        if settings.smtp_security == "none":
            return smtplib.SMTP(host, port, timeout=SECONDS)
        context = ssl.create_default_context(cafile=settings.smtp_ca_file)
        if settings.smtp_security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
        server = smtplib.SMTP(host, port, timeout=SECONDS)
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
        return server

    def _log_in(self, server: smtplib.SMTP) -> None:
        settings = self._settings
        if settings.smtp_user is None:
            return
        password = settings.smtp_password.get_secret_value() if settings.smtp_password else ""
        if settings.smtp_password_file is not None:
            password = settings.smtp_password_file.read_text("utf-8").strip()
        server.login(settings.smtp_user, password)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what goes wrong into an UpstreamError in the mail server's words."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        raise UpstreamError(NAME, f"refused every recipient ({_first(error)})") from error
    except smtplib.SMTPResponseException as error:
        raise UpstreamError(NAME, f"answered {error.smtp_code} {_words(error.smtp_error)}") from error
    except ssl.SSLCertVerificationError as error:
        raise UpstreamError(NAME, f"its certificate does not hold: {error.verify_message}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise UpstreamError(NAME, f"{type(error).__name__}: {error}") from error


def _first(error: smtplib.SMTPRecipientsRefused) -> str:
    code, said = next(iter(error.recipients.values()))
    return f"{code} {_words(said)}"


def _words(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:200]


async def _on_thread(work: Callable[[], T]) -> T:
    """Runs something that may hang on a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            failure = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="mail", daemon=True).start()
    return await future
