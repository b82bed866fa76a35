"""The guard lets nobody reach what is private, however it is written."""

import ipaddress
from typing import Any

import pytest

from control_plane.outgoing.guard import Guard, Refused

GUARD = Guard()
# Of docs/hardening.md.
pytestmark = pytest.mark.row(15)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/scim/v2",
        "http://8.8.8.8/",
        "https://[2606:4700::1111]:8443/scim",
        "HTTPS://App.Example.COM",
        "https://1e100.net/",
        "https://example.com./",
        "https://xn--mnchen-3ya.example/",
    ],
)
def test_public_urls_pass(url: str) -> None:
    GUARD.check_url(url)


PRIVATE = (
    "http://127.0.0.1/",
    "http://127.1.2.3:8080/",
    "http://0.0.0.0/",
    "http://10.0.0.5/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest",
    "http://169.254.169.254/latest/meta-data/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
)
ODD_NUMBERS = (
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://010.0.0.1/",
    "http://1.2.3.4.5/",
    "http://foo.0x7f/",
)
MALFORMED = (
    "file:///etc/passwd",
    "gopher://example.com/",
    "ftp://example.com/",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///path",
    "http://:80/",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://exa mple.com/",
    "http://example.com\r\nX: y/",
    "http://example.com:99999/",
    "http://example.com:0/",
    "http://[::1",
    "http://[fe80::1%25eth0]/",
    "http://[127.0.0.1]/",
    "http://[v1.127]/",
    "http://loc%61lhost/",
    "http://münchen.example/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://example.com:８０/",
)


@pytest.mark.parametrize("url", PRIVATE + ODD_NUMBERS + MALFORMED)
def test_the_rest_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        GUARD.check_url(url)


@pytest.mark.parametrize("url", MALFORMED + ODD_NUMBERS)
def test_no_allowed_network_makes_a_malformed_url_good(url: str) -> None:
    with pytest.raises(Refused):
        Guard.parse("0.0.0.0/0, ::/0").check_url(url)


def test_allowed_networks_are_open() -> None:
    guard = Guard.parse("10.1.0.0/16, fd00::/8")
    guard.check_url("http://10.1.2.3/")
    guard.check_url("http://[fd00::1]/")
    guard.check_url("http://[::ffff:10.1.2.3]/")
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://[fe80::1]/"):
        with pytest.raises(Refused):
            guard.check_url(url)


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        Guard.parse("10.0.0.1/8")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_the_python_library_agrees_where_it_says_private(network: str) -> None:
    """Addresses that ``ipaddress`` calls private, reserved, multicast or link-local are all refused."""
    space = ipaddress.ip_network(network)
    step = space.num_addresses // 4096
    for number in range(4096):
        address = space[number * step]
        odd = address.is_private or address.is_reserved or address.is_multicast or address.is_link_local
        # NAT64 and 6to4 blocks apart, what the library calls special must not be permitted.
        assert not (odd and GUARD.permits(address)), address


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(_loop: Any, _host: str, port: int, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)


async def test_a_name_gives_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "93.184.216.34", "2606:2800::1", "93.184.216.34")
    assert await GUARD.resolve("app.example", 443) == ["93.184.216.34", "2606:2800::1"]


@pytest.mark.parametrize("private", ["127.0.0.1", "::1", "10.0.0.1", "fe80::1%eth0", "::ffff:127.0.0.1"])
async def test_one_private_answer_spoils_all(monkeypatch: pytest.MonkeyPatch, private: str) -> None:
    answers(monkeypatch, "93.184.216.34", private)
    with pytest.raises(Refused) as refused:
        await GUARD.resolve("rebind.example", 443)
    assert private not in str(refused.value)


async def test_an_address_needs_no_answer() -> None:
    with pytest.raises(Refused):
        await GUARD.resolve("2130706433", 80)
    assert await GUARD.resolve("8.8.8.8", 80) == ["8.8.8.8"]


@pytest.mark.parametrize("host", ["a..b", ".", "a" * 64 + ".example"])
async def test_a_name_that_no_resolver_takes_is_refused(host: str) -> None:
    with pytest.raises(Refused):
        await GUARD.resolve(host, 443)
