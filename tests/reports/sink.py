"""A mail server on loopback that keeps what it is sent: enough of RFC 5321 for real SMTP clients, and TLS.

What it does wrong is set by the test: recipients it refuses, answers it gives in place of taking a message.
"""

import base64
import datetime as dt
import ipaddress
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Received:
    """One message as the server took it."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    user: str | None
    encrypted: bool


@dataclass
class Behaviour:
    """What the server asks for, and what it does wrong."""

    users: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    answers: list[str] = field(default_factory=list)  # to the next messages, in place of taking them
    certificate: tuple[Path, Path] | None = None  # with its key: STARTTLS is offered
    tls_at_once: bool = False


class Conversation(socketserver.StreamRequestHandler):
    """One client."""

    server: "_Server"
    timeout = 60

    def setup(self) -> None:
        self.encrypted = False
        if self.server.behaviour.tls_at_once:
            self._encrypt()
        super().setup()

    def handle(self) -> None:
        self.user: str | None = None
        self._forget()
        self._say("220 sink.example ESMTP")
        while line := self.rfile.readline(10_000):
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 bye")
                return
            getattr(self, f"do_{verb.lower()}", self._unknown)(rest)

    def finish(self) -> None:
        super().finish()
        if self.encrypted:
            self.request.close()  # the server closes what it accepted, which is no longer this

    def do_ehlo(self, _name: str) -> None:
        behaviour = self.server.behaviour
        extensions = ["8BITMIME", "SMTPUTF8"]
        if behaviour.certificate and not self.encrypted:
            extensions.append("STARTTLS")
        if behaviour.users:
            extensions.append("AUTH PLAIN")
        for each in ["sink.example", *extensions[:-1]]:
            self._say(f"250-{each}")
        self._say(f"250 {extensions[-1]}")

    def do_starttls(self, _rest: str) -> None:
        self._say("220 go on")
        super().finish()
        self._encrypt()
        super().setup()

    def do_auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        if self.server.behaviour.users.get(user) == password:
            self.user = user
            self._say("235 welcome")
        else:
            self._say("535 5.7.8 who are you")

    def do_mail(self, rest: str) -> None:
        if self.server.behaviour.users and self.user is None:
            self._say("530 5.7.0 log in first")
            return
        self.sender = rest.partition("<")[2].partition(">")[0]
        self._say("250 ok")

    def do_rcpt(self, rest: str) -> None:
        address = rest.partition("<")[2].partition(">")[0]
        if address in self.server.behaviour.refused:
            self._say("550 5.1.1 nobody of that name")
        else:
            self.recipients.append(address)
            self._say("250 ok")

    def do_data(self, _rest: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        behaviour = self.server.behaviour
        if behaviour.answers:
            self._say(behaviour.answers.pop(0))
            return
        message = message_from_bytes(b"".join(lines), policy=default)
        self.server.received.append(Received(self.sender, self.recipients, message, self.user, self.encrypted))
        self._forget()
        self._say("250 taken")

    def do_rset(self, _rest: str) -> None:
        self._forget()
        self._say("250 ok")

    def _unknown(self, _rest: str) -> None:
        self._say("502 not here")

    def _forget(self) -> None:
        self.sender = ""
        self.recipients: list[str] = []

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _encrypt(self) -> None:
        certificate, key = self.server.behaviour.certificate or (Path(), Path())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.request = context.wrap_socket(self.request, server_side=True)
        self.encrypted = True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.received: list[Received] = []
        super().__init__(("127.0.0.1", 0), Conversation)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave in the middle: those that refuse the certificate do."""


class Sink:
    """The server's life: a context manager."""

    def __init__(self, **behaviour: Any) -> None:
        self.behaviour = Behaviour(**behaviour)
        self._server = _Server(self.behaviour)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def received(self) -> list[Received]:
        """Everything it took."""
        return self._server.received

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """A self-signed certificate of a server at `host`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "sink.pem", folder / "sink.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths
