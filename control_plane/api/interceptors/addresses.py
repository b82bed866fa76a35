"""Where a call comes from."""

from urllib.parse import unquote


def address_of(peer: str) -> str:
    """Return the address in what gRPC calls a peer, such as "ipv4:192.0.2.7:50123" or "ipv6:%5B::1%5D:50123"."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
