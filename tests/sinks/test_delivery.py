import ssl
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.journal.stand import request
from tests.sinks.collector import Collector, Reply, rejecting

from fleetpulse.errors import ConfigError
from fleetpulse.journal import Numbered
from fleetpulse.sinks.delivery import MAX_RETRY_AFTER, Answer, Delivery, judge
from fleetpulse.sinks.records import encode
from fleetpulse.sinks.variables import Destination

BODY = encode([Numbered(1, request("r1"))], {}, 2**20, 1).body


async def post(destination: Destination, body: bytes = BODY) -> Answer:
    delivery = Delivery(destination)
    try:
        return await delivery.post(body)
    finally:
        await delivery.close()


async def test_a_batch_is_taken(collector: Collector) -> None:
    headers = {"authorization": "Bearer secret", "x-scope-orgid": "fleet"}
    assert await post(Destination(collector.url, headers)) == Answer("taken")
    (call,) = collector.calls
    assert collector.ids() == {"r1": 1}
    assert call.path == "/v1/logs"
    assert call.headers["authorization"] == "Bearer secret"
    assert call.headers["x-scope-orgid"] == "fleet"
    assert call.headers["content-type"] == "application/x-protobuf"
    assert call.headers["user-agent"].startswith("fleetpulse/")


async def test_it_is_compressed_where_that_is_asked_for(collector: Collector) -> None:
    assert (await post(Destination(collector.url, gzip=True))).outcome == "taken"
    assert collector.calls[0].headers["content-encoding"] == "gzip"
    assert collector.ids() == {"r1": 1}


async def test_one_connection_serves_many_batches(collector: Collector) -> None:
    delivery = Delivery(Destination(collector.url))
    for _ in range(3):
        assert (await delivery.post(BODY)).outcome == "taken"
    await delivery.close()
    assert collector.accepted == 1


async def test_credentials_in_the_address_are_sent_as_a_header(collector: Collector) -> None:
    url = collector.url.replace("//", "//me:secret@")
    assert (await post(Destination(url))).outcome == "taken"
    assert collector.calls[0].headers["Authorization"].startswith("Basic ")


async def test_some_of_a_batch_are_rejected(collector: Collector) -> None:
    collector.always = rejecting(3, "too old")
    assert await post(Destination(collector.url)) == Answer("taken", "too old", rejected=3)


async def test_silence_ends(collector: Collector) -> None:
    collector.open.clear()
    answer = await post(Destination(collector.url, timeout_seconds=0.1))
    collector.open.set()
    assert (answer.outcome, answer.trouble) == ("again", "timeout")
    assert "0.1 s" in answer.detail


async def test_nobody_listens(collector: Collector) -> None:
    collector.stop()
    answer = await post(Destination(collector.url.replace("//", "//me:secret@")))
    assert (answer.outcome, answer.trouble) == ("again", "unreachable")
    assert "secret" not in answer.detail


async def test_the_other_side_hangs_up(collector: Collector) -> None:
    collector.always = Reply(hangs_up=True)
    answer = await post(Destination(collector.url))
    assert (answer.outcome, answer.trouble) == ("again", "unreachable")
    assert answer.detail


async def test_a_redirect_is_not_followed(collector: Collector) -> None:
    collector.always = Reply(302, {"Location": collector.base})
    answer = await post(Destination(collector.url))
    assert (answer.outcome, answer.trouble) == ("again", "misdirected")


async def test_a_long_answer_is_not_read_to_its_end(collector: Collector) -> None:
    collector.always = Reply(400, body=b"no " * 2**20)
    answer = await post(Destination(collector.url))
    assert answer.outcome == "refused"
    assert len(answer.detail) < 400


@pytest.mark.parametrize(
    ("status", "outcome", "trouble"),
    [
        (200, "taken", None),
        (204, "taken", None),  # Loki
        (429, "again", "busy"),
        (502, "again", "busy"),
        (503, "again", "busy"),
        (504, "again", "busy"),
        (301, "again", "misdirected"),
        (401, "again", "misdirected"),
        (403, "again", "misdirected"),
        (404, "again", "misdirected"),
        (405, "again", "misdirected"),
        (413, "smaller", None),
        (400, "refused", None),
        (422, "refused", None),
        (500, "refused", None),  # the specification says so, and Loki says 503 instead
        (501, "refused", None),
    ],
)
def test_what_a_status_means(status: int, outcome: str, trouble: str | None) -> None:
    answer = judge(status, {}, b"")
    assert (answer.outcome, answer.trouble) == (outcome, trouble)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("0", 0.0), ("999999", MAX_RETRY_AFTER), ("soon", 0.0), ("-5", 0.0), ("", 0.0), ("nan", 0.0)],
)
def test_retry_after_in_seconds(said: str, seconds: float) -> None:
    assert judge(503, {"Retry-After": said}, b"").retry_after == seconds


@pytest.mark.parametrize(("ahead", "least", "most"), [(60, 50, 60), (-60, 0, 0), (86_400, 300, 300)])
def test_retry_after_as_a_date(ahead: float, least: float, most: float) -> None:
    date = format_datetime(datetime.fromtimestamp(time.time() + ahead, UTC), usegmt=True)
    assert least <= judge(429, {"Retry-After": date}, b"").retry_after <= most


@pytest.mark.parametrize(
    ("content_type", "body", "answer"),
    [
        ("application/x-protobuf", b"", (0, "")),
        ("application/x-protobuf", b"\xff\xff", (0, "")),
        ("text/plain", b"ok", (0, "")),
        ("application/json", b'{"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "no"}}', (2, "no")),
        ("application/json; charset=utf-8", b"{}", (0, "")),
        ("application/json", b"[]", (0, "")),
        ("application/json", b"{", (0, "")),
        ("application/json", b'{"partialSuccess": null}', (0, "")),
    ],
)
def test_answers_to_what_was_taken(content_type: str, body: bytes, answer: tuple[int, str]) -> None:
    found = judge(200, {"Content-Type": content_type}, body)
    assert (found.outcome, found.rejected, found.detail) == ("taken", *answer)


def test_an_answer_is_shown_in_one_short_line() -> None:
    said = "entry\n too\x00 far behind " + "x" * 5_000
    detail = judge(400, {}, said.encode()).detail
    assert detail.startswith("400 entry too far behind xxx")
    assert len(detail) < 310


# TLS ----------------------------------------------------------------------------------------------------------
def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    began = datetime.now(UTC) - timedelta(hours=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "collector.pem", folder / "collector.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, secret


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return self_signed(tmp_path)


@pytest.fixture
def guarded(files: tuple[Path, Path]) -> Iterator[Collector]:
    """A collector that speaks TLS, and wants to see a certificate itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    context.load_verify_locations(files[0])
    context.verify_mode = ssl.CERT_REQUIRED
    made = Collector(context).start()
    yield made
    made.stop()


async def test_certificates_are_shown_and_checked(guarded: Collector, files: tuple[Path, Path]) -> None:
    certificate, key = files
    known = Destination(
        guarded.url, certificate=certificate, client_certificate=certificate, client_key=key, timeout_seconds=30
    )
    assert (await post(known)).outcome == "taken"
    stranger = await post(Destination(guarded.url, timeout_seconds=30))
    assert (stranger.outcome, stranger.trouble) == ("again", "unreachable")
    assert "certificate" in stranger.detail.lower()


async def test_certificates_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match="CERTIFICATE"):
        Delivery(Destination("https://127.0.0.1:1", certificate=broken))


@pytest.fixture
async def delivery(collector: Collector) -> AsyncIterator[Delivery]:
    made = Delivery(Destination(collector.url))
    yield made
    await made.close()


async def test_it_recovers_when_the_collector_comes_back(collector: Collector, delivery: Delivery) -> None:
    assert (await delivery.post(BODY)).outcome == "taken"
    collector.stop()
    assert (await delivery.post(BODY)).outcome == "again"
    collector.start()
    assert (await delivery.post(BODY)).outcome == "taken"
