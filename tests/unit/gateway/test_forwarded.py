"""Whose address a request has: the peer's, or what a trusted proxy says."""

import asyncio
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from control_plane.scim.errors import BadRequest
from scim_gateway.forwarded import Proxies, parse_networks, source_of

PROXY = "10.0.0.1"


def address(peer: str | None, *headers: tuple[str, str], trusted: str = "10.0.0.0/8,fd00::/8") -> str:
    transport = Mock(spec=asyncio.Transport)
    transport.get_extra_info.side_effect = lambda name: (peer, 4711) if name == "peername" and peer else None
    request = make_mocked_request("GET", "/", CIMultiDict(headers), transport=transport)
    return Proxies(parse_networks(trusted)).client_address(request)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("X-Forwarded-For", "192.0.2.1", "192.0.2.1"),
        ("X-Forwarded-For", "198.51.100.66, 192.0.2.1", "192.0.2.1"),
        ("X-Forwarded-For", "192.0.2.1:4711", "192.0.2.1"),
        ("X-Forwarded-For", "[2001:db8::1]:4711", "2001:db8::1"),
        ("X-Forwarded-For", "2001:DB8::1", "2001:db8::1"),
        ("X-Forwarded-For", "::ffff:192.0.2.1", "192.0.2.1"),
        ("X-Forwarded-For", "somebody", PROXY),
        ("X-Forwarded-For", "192.0.2.1,", PROXY),
        ("X-Forwarded-For", "", PROXY),
        ("Forwarded", "for=192.0.2.1", "192.0.2.1"),
        ("Forwarded", "for=198.51.100.66, for=192.0.2.1;proto=https", "192.0.2.1"),
        ("Forwarded", 'For="[2001:db8::1]:4711"', "2001:db8::1"),
        ("Forwarded", 'for="192.0.2.1:4711"', "192.0.2.1"),
        ("Forwarded", "for=unknown", PROXY),
        ("Forwarded", "for=_hidden", PROXY),
        ("Forwarded", "proto=https", PROXY),
    ],
)
def test_a_trusted_proxys_last_word_counts(name: str, value: str, expected: str) -> None:
    assert address(PROXY, (name, value)) == expected


@pytest.mark.parametrize(
    "forwarded", ["for=192.0.2.1", 'for="192.0.2.1:4711";proto=https', "for=10.0.0.9, for=192.0.2.1;host=idp.example"]
)
def test_both_kinds_may_say_the_same(forwarded: str) -> None:
    assert address(PROXY, ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", forwarded)) == "192.0.2.1"


@pytest.mark.parametrize(
    ("older", "forwarded"),
    [
        # The proxy writes one kind and passes the other on: which of them is the client's invention cannot be told.
        (("X-Forwarded-For", "198.51.100.66"), "for=192.0.2.1"),
        (("X-Forwarded-For", "198.51.100.66"), "for=unknown"),
        (("X-Forwarded-For", "198.51.100.66"), "proto=https"),
        (("X-Forwarded-For", "198.51.100.66"), "for=198.51.100.66;for=192.0.2.1"),
    ],
)
def test_two_kinds_that_differ_are_refused(older: tuple[str, str], forwarded: str) -> None:
    with pytest.raises(BadRequest):
        address(PROXY, older, ("Forwarded", forwarded))
    assert address("192.0.2.9", older, ("Forwarded", forwarded)) == "192.0.2.9"


@pytest.mark.parametrize("peer", ["192.0.2.9", "2001:db8::9", "::ffff:192.0.2.9"])
def test_nobody_elses_does(peer: str) -> None:
    expected = peer.removeprefix("::ffff:")
    assert address(peer, ("X-Forwarded-For", "10.1.1.1"), ("Forwarded", "for=10.1.1.1")) == expected
    assert address(PROXY, ("X-Forwarded-For", "192.0.2.1"), trusted="") == PROXY


def test_a_peer_without_address_has_none() -> None:
    assert address(None, ("X-Forwarded-For", "192.0.2.1")) == ""


def test_a_zone_is_no_part_of_an_address() -> None:
    assert address("fe80::1%eth0") == "fe80::1"


def test_a_malformed_forwarded_header_is_refused() -> None:
    with pytest.raises(BadRequest):
        address(PROXY, ("Forwarded", 'for="192.0.2.1'))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("", ""),
    ],
)
def test_a_source_is_an_address_or_a_64(given: str, expected: str) -> None:
    assert source_of(given) == expected
