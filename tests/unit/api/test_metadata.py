"""What the gRPC server reads out of a connection's address and a caller's traceparent."""

import pytest

from control_plane.api.interceptors.addresses import address_of
from control_plane.api.interceptors.request_id import trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:50123", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:50123", "2001:db8::1"),
        ("ipv6:[::ffff:192.0.2.7]:50123", "::ffff:192.0.2.7"),
        ("unix:/run/muster.sock", ""),
        ("", ""),
    ],
)
def test_a_peers_address_is_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


@pytest.mark.parametrize("parent", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-later"])
def test_a_traceparent_names_its_trace(parent: str) -> None:
    assert trace_of(parent) == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "",
        TRACE,
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_what_is_no_traceparent_names_none(parent: str) -> None:
    assert trace_of(parent) == ""
