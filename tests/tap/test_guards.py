import socket
from ipaddress import ip_address

import pytest

from fleetpulse.tap.guards import Guard, is_local_name, is_public, literal, shown

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "255.255.255.255",
    "224.0.0.1",
    "240.0.0.1",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%1",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::",
    "2001:0:102:304::f5ff:fffe",  # Teredo of 10.0.0.1
)
PUBLIC = ("8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::")


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_public_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.1"])
def test_an_address_is_known_in_every_spelling(spelling: str) -> None:
    assert literal(spelling) == ip_address("127.0.0.1")


@pytest.mark.parametrize("host", ["chat.example.org", "localhost", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "printer.local", "db.internal"])
def test_local_names(host: str) -> None:
    assert is_local_name(host)
    assert not is_local_name(host.strip(".") + ".example.org")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1"])
def test_no_socket_is_made_for_a_private_address(host: str) -> None:
    guard = Guard(allow_private=False)
    with pytest.raises(PermissionError, match="not public"):
        guard((socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)))
    assert guard.refused == host


def test_of_several_addresses_those_that_are_public_are_tried() -> None:
    guard = Guard(allow_private=False)
    with pytest.raises(PermissionError):
        guard((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
    with guard((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))):
        assert guard.refused is None, "that the other could not be reached may pass"


@pytest.mark.parametrize("guard", [Guard(allow_private=True), Guard(allow_private=False, proxied=True)])
def test_a_socket_is_made_where_it_is_allowed_or_goes_to_the_proxy(guard: Guard) -> None:
    guard((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()
    assert guard.refused is None


@pytest.mark.parametrize("host", ["127.1", "localhost", "169.254.169.254", "::1"])
def test_behind_a_proxy_what_is_plainly_local_is_refused(host: str) -> None:
    with pytest.raises(PermissionError):
        Guard(allow_private=False, proxied=True).check(host)
    Guard(allow_private=True, proxied=True).check(host)
    Guard(allow_private=False).check(host)  # the socket will be


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("wss://a.example/x?token=s#f", "wss://a.example/x"),
        ("ws://user:word@a.example:81/", "ws://a.example:81/"),
        ("ws://[bad", "an address that is none"),
    ],
)
def test_addresses_are_shown_without_what_is_secret(url: str, seen: str) -> None:
    assert shown(url) == seen
