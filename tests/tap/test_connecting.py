"""TLS and proxies, with an authority and a proxy of the tests' own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.tap.authority import Authority
from tests.tap.stage import failing, recording, source_of, tcp_server, until
from websockets.asyncio.server import Server, ServerConnection, serve


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def hello(connection: ServerConnection) -> None:
    await connection.send("hello")
    await connection.wait_closed()


@asynccontextmanager
async def secure(authority: Authority, host: str = "127.0.0.1", *, asks: bool = False) -> AsyncIterator[str]:
    async with serve(hello, "127.0.0.1", 0, ssl=authority.server(host, asks=asks)) as server:
        yield f"wss://127.0.0.1:{_port(server)}/room?token=verysecret"


@pytest.mark.parametrize(
    ("host", "tls"),
    [
        ("127.0.0.1", {"ca_file": "ca"}),
        ("chat.example.org", {"ca_file": "ca", "server_name": "chat.example.org"}),
        ("somebody.example.org", {"verify": False}),
    ],
)
async def test_a_server_is_trusted_as_it_is_configured(
    authority: Authority, host: str, tls: dict[str, Any]
) -> None:
    given = {name: authority.file if value == "ca" else value for name, value in tls.items()}
    async with secure(authority, host) as url, recording(source_of(url, tls=given)) as it:
        await until(lambda: it.recorded)


@pytest.mark.parametrize(("host", "known"), [("127.0.0.1", False), ("chat.example.org", True)])
async def test_a_certificate_that_is_refused_is_final(authority: Authority, host: str, *, known: bool) -> None:
    tls = {"ca_file": authority.file} if known else {}
    async with secure(authority, host) as url, failing(source_of(url, tls=tls)) as it:
        assert it.detail("stream_failed")["cause"] == "certificate"
        assert "verysecret" not in str(it.log)


async def test_a_client_certificate_is_shown(authority: Authority) -> None:
    pair = authority.sign("tap.example.org")
    tls = {"ca_file": authority.file, "cert_file": pair.certificate, "key_file": pair.key}
    async with secure(authority, asks=True) as url, recording(source_of(url, tls=tls)) as it:
        await until(lambda: it.recorded)


async def test_a_certificate_that_cannot_be_read_may_come(authority: Authority, tmp_path: Path) -> None:
    later = tmp_path / "ca.pem"
    async with secure(authority) as url, recording(source_of(url, tls={"ca_file": later})) as it:
        await until(lambda: "stream_retrying" in it.kinds)
        assert it.detail("stream_retrying")["cause"] == "configuration"
        later.write_bytes(authority.file.read_bytes())
        await until(lambda: it.recorded)


async def test_a_server_without_tls_is_tried_again(authority: Authority) -> None:
    async with serve(hello, "127.0.0.1", 0) as server:
        url = f"wss://127.0.0.1:{_port(server)}/"
        async with recording(source_of(url, tls={"ca_file": authority.file})) as it:
            await until(lambda: "stream_retrying" in it.kinds)
            assert it.detail("stream_retrying")["cause"] in ("tls", "unreachable")


# Proxies ------------------------------------------------------------------------------------------------------
class Proxy:
    """An HTTP proxy: tunnels on CONNECT, and forwards what is addressed to others, Upgrade included."""

    def __init__(self, status: int = 200) -> None:
        self.heads: list[str] = []
        self.port = 0
        self._status = status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        if self._status != 200:
            return writer.write(f"HTTP/1.1 {self._status} No\r\nContent-Length: 0\r\n\r\n".encode())
        place = target if method == "CONNECT" else target.split("/")[2]
        back, forth = await asyncio.open_connection(*place.rsplit(":", 1))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                forth.write(head.replace(f"http://{place}", "", 1).encode())
            await asyncio.gather(_pump(reader, forth), _pump(back, writer))
        finally:
            forth.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(status: int = 200) -> AsyncIterator[Proxy]:
    proxy = Proxy(status)
    async with tcp_server(proxy.serve) as proxy.port:
        yield proxy


@pytest.mark.parametrize("login", ["", "user:pass%40word@"])
async def test_it_goes_through_a_proxy_and_logs_in_there(authority: Authority, login: str) -> None:
    async with secure(authority) as url, proxying() as proxy:
        source = source_of(url, proxy=f"http://{login}127.0.0.1:{proxy.port}", tls={"ca_file": authority.file})
        async with recording(source) as it:
            await until(lambda: it.recorded)
    assert proxy.heads[0].startswith("CONNECT 127.0.0.1:")
    assert ("Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=" in proxy.heads[0]) is bool(login)
    assert "verysecret" not in proxy.heads[0]


async def test_without_tls_the_proxy_is_asked_for_the_address() -> None:
    async with serve(hello, "127.0.0.1", 0) as server, proxying() as proxy:
        url = f"ws://127.0.0.1:{_port(server)}/room"
        async with recording(source_of(url, proxy=f"http://127.0.0.1:{proxy.port}")) as it:
            await until(lambda: it.recorded)
    assert proxy.heads[0].startswith(f"GET http://127.0.0.1:{urlsplit(url).port}/room HTTP/1.1")


async def test_a_proxy_that_wants_a_login_is_final(authority: Authority) -> None:
    async with (
        secure(authority) as url,
        proxying(407) as proxy,
        failing(source_of(url, proxy=f"http://user:pass-word@127.0.0.1:{proxy.port}")) as it,
    ):
        assert it.detail("stream_failed")["why"] == "HTTP 407 from the proxy"
        assert "pass-word" not in str(it.log)


async def test_a_proxy_that_is_away_is_tried_again(unused_tcp_port: int) -> None:
    source = source_of("wss://chat.example.org/", proxy=f"http://127.0.0.1:{unused_tcp_port}")
    async with recording(source) as it:
        await until(lambda: "stream_retrying" in it.kinds)
    assert it.detail("stream_retrying")["cause"] == "proxy"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
async def test_through_a_proxy_what_is_plainly_local_is_refused(host: str) -> None:
    async with (
        proxying() as proxy,
        failing(source_of(f"ws://{host}:80/", proxy=f"http://127.0.0.1:{proxy.port}", allow_private=False)) as it,
    ):
        assert it.detail("stream_failed")["cause"] == "forbidden"
        assert not proxy.heads


def _port(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port
