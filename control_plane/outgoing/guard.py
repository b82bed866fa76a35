"""Where a connection may go whose address a tenant chose: to the public internet, and where an operator allowed it.

Against server-side request forgery (OWASP API7:2023). A URL is checked when it is saved, and again whenever a
connection is made: a name may mean another address by then. What was checked is what is connected to (``http.py``).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from control_plane.scim.networks import Address, Network, networks_in, unmapped

RESOLVE_TIMEOUT_S = 5.0
MAX_PORT = 65535
SCHEMES = frozenset({"http", "https"})

# The IANA special-purpose registries (RFC 6890 and successors): nothing in them is a host of the public internet.
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata services of some clouds
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: 169.254.169.254 gives away a machine's credentials
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# All global unicast of IPv6 is here, but for a few blocks; among these 6to4 and Teredo, which carry an IPv4 address.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# As the URL standard has it: a host whose last label is a number is an IPv4 address, however it is written
# (2130706433, 0x7f.1, 0177.0.0.1). Only four decimal numbers are let through to be looked at.
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$")


class Refused(Exception):
    """A URL or an address that no connection is made to. The message says why, and names no address that was found."""


class Guard:
    """Judges addresses. ``allowed`` networks are open although they are private."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    @classmethod
    def parse(cls, text: str) -> "Guard":
        """Return the guard for comma-separated networks; ValueError names the one that is none."""
        return cls(networks_in(text))

    def permits(self, address: Address) -> bool:
        """Tell whether a connection to ``address`` may be made."""
        address = unmapped(address)
        if any(address in network for network in self._allowed):
            return True
        if isinstance(address, ipaddress.IPv4Address):
            return not any(address in network for network in _NOT_PUBLIC_V4)
        return address in _GLOBAL_V6 and not any(address in network for network in _NOT_PUBLIC_V6)

    def check_url(self, url: str) -> None:
        """Refused if ``url`` is not http(s), carries user info, or names an address that is not permitted.

        A name is not resolved here: see :meth:`resolve`.
        """
        if any(character <= " " or character in {"\\", "\x7f"} for character in url):
            raise Refused("the URL has a blank, a control character or a backslash in it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Refused("the URL's host or port is malformed") from None
        if parts.scheme.lower() not in SCHEMES:
            raise Refused("the URL is neither http nor https")
        if "@" in parts.netloc:
            raise Refused("the URL has user info in it")
        if port == 0:
            raise Refused("the URL's port is 0")
        self._check_host(host)

    async def resolve(self, host: str, port: int, timeout_s: float = RESOLVE_TIMEOUT_S) -> list[str]:
        """Return the addresses of ``host``; Refused if one of them is not permitted, OSError if there is none.

        One that is not permitted spoils all: whoever answers with a public and a private address is up to something.
        """
        self._check_host(host)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as err:
            raise Refused("a part of the host's name is empty or too long") from err
        addresses = [str(one[4][0]) for one in found]
        if not all("%" not in each and self.permits(ipaddress.ip_address(each)) for each in addresses):
            raise Refused("the host resolves to an address that is not allowed")
        return list(dict.fromkeys(addresses))

    def _check_host(self, host: str) -> None:
        """Refused if ``host`` is no host, or an address that is not permitted."""
        if not host or "%" in host:
            raise Refused("the URL has no host that can be connected to")
        # Libraries differ in what they make of other letters, and some of them make an address of digits in circles.
        if not host.isascii():
            raise Refused("the host's name must be ASCII: write an international one as xn--...")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if _ENDS_IN_NUMBER.search(host):
                raise Refused("the host is a number, but not an address in four decimal parts") from None
            return
        if not self.permits(address):
            raise Refused("the address is not allowed: it is private or reserved")
