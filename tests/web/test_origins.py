import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.web.origins import host_allowed, origin_allowed

ANYWHERE = "0.0.0.0"  # noqa: S104 - an address to judge, not to bind


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8001", "127.0.0.1:8001"),
        ("http://LOCALHOST:8001", "localhost:8001"),
        ("https://fleet.example.com", "fleet.example.com"),
        ("https://fleet.example.com:443", "fleet.example.com"),
        ("http://fleet.example.com", "fleet.example.com:80"),
        ("http://[::1]:8001", "[::1]:8001"),
    ],
)
def test_the_same_host_and_port_is_allowed(origin: str, host: str) -> None:
    assert origin_allowed(origin, host, (), open_loopback=False)


FOREIGN = [
    "https://evil.example",
    "http://fleet.example.com:8002",
    "http://fleet.example.com.evil.example:8001",
    "http://evil.example/fleet.example.com:8001",
    "http://fleet.example.com:8001@evil.example",
    "http://evil.example#fleet.example.com:8001",
    "http://evil.example?fleet.example.com:8001",
    "ftp://fleet.example.com:8001",
    "chrome-extension://fleet.example.com:8001",
    "null",
    "file://",
    "",
    "http://",
    "http://[",
    "http://x:99999",
    "http://localhost:3000",
    "http://localhost.evil.example:8001",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("open_loopback", [True, False])
def test_other_origins_are_refused(origin: str, open_loopback: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert not origin_allowed(origin, "fleet.example.com:8001", (), open_loopback=open_loopback)


@pytest.mark.parametrize("origin", FOREIGN[:-2])
def test_no_page_of_elsewhere_reaches_an_open_loopback(origin: str) -> None:
    assert not origin_allowed(origin, "localhost:8001", (), open_loopback=True)


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]", "https://app.localhost"]
)
def test_a_page_of_this_machine_reaches_it_while_no_credentials_are_asked_for(origin: str) -> None:
    assert origin_allowed(origin, "127.0.0.1:8001", (), open_loopback=True)
    assert not origin_allowed(origin, "127.0.0.1:8001", (), open_loopback=False)
    assert not origin_allowed(origin, "fleet.example.com", (), open_loopback=True)


def test_listed_origins_are_exact() -> None:
    allowed = ("https://Ops.example.com/", "null")
    assert origin_allowed("https://ops.example.com", "x", allowed, open_loopback=False)
    assert origin_allowed("null", "x", allowed, open_loopback=False)
    assert not origin_allowed("http://ops.example.com", "x", allowed, open_loopback=False)
    assert not origin_allowed("https://ops.example.com:8443", "x", allowed, open_loopback=False)
    assert not origin_allowed("https://a.ops.example.com", "x", allowed, open_loopback=False)
    assert origin_allowed("https://anyone.example", "x", ("*",), open_loopback=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8001", "localhost", "LOCALHOST:1", "[::1]:8001", "app.localhost", "192.168.1.5:80"]
)
@pytest.mark.parametrize("bound", ["127.0.0.1", ANYWHERE])
def test_addresses_and_localhost_cannot_be_rebound(host: str, bound: str) -> None:
    assert host_allowed(host, (), bound=bound)


@pytest.mark.parametrize(
    "host", ["evil.example:8001", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "a@b", "x:y"]
)
@pytest.mark.parametrize("bound", ["127.0.0.1", ANYWHERE])
def test_names_a_stranger_can_register_are_refused(host: str, bound: str) -> None:
    assert not host_allowed(host, (), bound=bound)


@pytest.mark.parametrize(
    "host", ["exporter:8001", "fleetpulse", "host.docker.internal:8001", "pulse.svc.cluster.local"]
)
def test_private_names_reach_only_a_server_that_is_bound_beyond_loopback(host: str) -> None:
    assert host_allowed(host, (), bound=ANYWHERE)
    assert not host_allowed(host, (), bound="127.0.0.1")


def test_a_listed_origin_makes_its_name_known() -> None:
    assert host_allowed("pulse.example.com:8001", ("http://pulse.example.com",), bound="127.0.0.1")
    assert host_allowed("anything.example", ("*",), bound="127.0.0.1")
    assert host_allowed("pulse.lan", (), bound="pulse.lan")


@given(st.text(), st.text())
def test_no_text_breaks_the_checks(origin: str, host: str) -> None:
    assert origin_allowed(origin, host, (), open_loopback=True) in (True, False)
    assert host_allowed(host, (), bound="127.0.0.1") in (True, False)
