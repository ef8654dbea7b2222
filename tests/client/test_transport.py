import gzip
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.client.scripted import Request, Scripted, http, serving

from fleetpulse.client.environment import Target
from fleetpulse.client.transport import JSON, ExchangeError, Transport

OK = http("202 Accepted", b"{}")


def test_one_connection_serves_many_exchanges() -> None:
    with serving(OK) as server:
        transport = Transport(Target(f"{server.url}/behind/a/proxy", {"X-App-Key": "k"}), 10)
        for _ in range(3):
            assert transport.post("/api", b"{}", JSON).status == 202
        transport.close()
    assert server.connections == 1
    request = server.requests[0]
    assert request.line == "POST /behind/a/proxy/api HTTP/1.1"
    assert (request.headers["x-app-key"], request.headers["content-type"]) == ("k", JSON)
    assert request.headers["user-agent"].startswith("fleetpulse-client/")


def test_a_long_body_is_compressed() -> None:
    with serving(OK) as server:
        transport = Transport(Target(server.url), 10)
        transport.post("/", b"x" * 5_000, JSON)
        transport.close()
    assert len(server.requests[0].body) < 100
    assert gzip.decompress(server.requests[0].body) == b"x" * 5_000


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    with serving(OK, closing=True) as server:
        transport = Transport(Target(server.url), 10)
        assert [transport.post("/", b"{}", JSON).status for _ in range(3)] == [202] * 3
        transport.close()
    assert server.connections == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x00\x01\x02 not http at all\r\n\r\n", "no HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (5 * 2**20), "no HTTP answer"),
        (b"", "the connection broke off"),
    ],
    ids=["binary", "ssh", "cut", "bad chunk", "many headers", "endless", "silent"],
)
def test_garbage_is_no_answer(answer: bytes, words: str) -> None:
    with serving(answer, closing=True) as server, pytest.raises(ExchangeError, match=words):
        Transport(Target(server.url), 10).post("/", b"{}", JSON)


def test_a_server_that_never_answers_is_given_up() -> None:
    with serving(lambda *_: None) as server, pytest.raises(ExchangeError, match="no answer in time"):
        Transport(Target(server.url), 0.2).post("/", b"{}", JSON)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"], ids=["head", "body"])
def test_a_server_that_drips_is_given_up(head: bytes) -> None:
    """Every byte comes in time, and the whole never does: time is counted for the exchange, not for each byte."""

    def drip(connection: socket.socket, _: Request) -> None:
        connection.sendall(head)
        while not server.ended.wait(0.02):
            connection.sendall(b"H")

    server: Scripted
    with serving(drip) as server, pytest.raises(ExchangeError, match="no answer in time"):
        Transport(Target(server.url), 0.5).post("/", b"{}", JSON)


def test_a_server_that_reads_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = Target(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        noise = gzip.compress(bytes(1)) + time.time_ns().to_bytes(8, "big") * 2_000_000
        with pytest.raises(ExchangeError, match="no answer in time"):
            Transport(target, 0.3).post("/", noise, "application/octet-stream")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


def test_https_is_checked_against_the_systems_certificates(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(OK, tls=context) as server:
        transport = Transport(Target(server.url), 10)
        with pytest.raises(ExchangeError, match="CERTIFICATE_VERIFY_FAILED"):
            transport.post("/", b"{}", JSON)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert [transport.post("/", b"{}", JSON).status for _ in range(2)] == [202, 202]
        transport.close()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = Target(f"http://127.0.0.1:{gone.getsockname()[1]}", {"Authorization": "Bearer secret"})
    with pytest.raises(ExchangeError, match="Connection refused") as caught:
        Transport(target, 5).post("/", b"{}", JSON)
    assert "secret" not in repr(caught.value) + repr(target)
