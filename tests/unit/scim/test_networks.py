"""Allow lists of networks: how they are written, and who is in."""

import pytest

from control_plane.scim.networks import Networks, normal_network


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" 203.0.113.7 ", "203.0.113.7/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("2001:0DB8::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_stored_in_one_form(written: str, stored: str) -> None:
    assert normal_network(written) == stored
    assert normal_network(stored) == stored


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("10.1.2.3/8", "'10.1.2.3/8' has bits behind its prefix; write 10.0.0.0/8, or the address alone"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network"),
        ("fe80::1%eth0", "is not a network"),
        ("example.org", "'example.org' is not a network"),
        ("", "'' is not a network"),
    ],
)
def test_what_is_no_network_is_told(written: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"not a network|behind its prefix") as refused:
        normal_network(written)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("networks", "address", "is_in"),
    [
        ((), "whatever", True),
        (("10.0.0.0/8",), "10.9.8.7", True),
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8",), "::ffff:10.9.8.7", True),
        (("10.0.0.0/8", "2001:db8::/32"), "2001:db8::5", True),
        (("0.0.0.0/0",), "2001:db8::5", False),
        (("10.0.0.0/8",), "", False),
        (("10.0.0.0/8",), "unknown", False),
    ],
)
def test_who_is_in(networks: tuple[str, ...], address: str, is_in: bool) -> None:
    assert Networks.parse(networks).covers(address) is is_in
