"""Networks whose word about scheme and host counts."""

import pytest

from control_plane.runtime.settings import SettingsError
from scim_gateway.forwarded import Proxies, parse_networks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ", []),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.1.2.3, 2001:db8::/32,::1", ["10.1.2.3/32", "2001:db8::/32", "::1/128"]),
    ],
)
def test_networks_are_addresses_or_cidr(text: str, expected: list[str]) -> None:
    assert [str(network) for network in parse_networks(text)] == expected


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;::1", "*"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(
        SettingsError, match="MUSTER_GATEWAY_TRUSTED_PROXIES.*" + text.partition(";")[0].replace("*", "[*]")
    ):
        parse_networks(text)


@pytest.mark.parametrize(
    ("remote", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::5", True),
        ("11.1.2.3", False),
        ("::ffff:11.1.2.3", False),
        ("2001:db9::5", False),
        ("", False),
        ("/run/socket", False),
    ],
)
def test_peers_are_trusted_by_their_address(remote: str, is_trusted: bool) -> None:
    assert Proxies(parse_networks("10.0.0.0/8,2001:db8::/32")).is_trusted(remote) is is_trusted
