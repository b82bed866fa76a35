"""Who connects: the client's address, and what a trusted proxy says of the request.

A header that anybody can send decides nothing: ``Forwarded`` (RFC 7239) and ``X-Forwarded-*`` count only if the
connection comes from a network of ``MUSTER_GATEWAY_TRUSTED_PROXIES``, and of several values only the last, which that
proxy wrote itself. Of two proxies in a row, the inner one must pass on what the outer one wrote.

A proxy writes one of the two kinds, and most pass the other on as the client sent it. Which it is nobody tells us:
where both are there, they must name the same client.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiohttp import hdrs, web

from control_plane.runtime.settings import SettingsError
from control_plane.scim.errors import BadRequest
from control_plane.scim.networks import Address, Network, networks_in, unmapped

# What the limits per source look at: whoever has one IPv6 address has the 2^64 beside it.
SOURCE_PREFIX_V6 = 64

# An element of Forwarded: commas stand between elements, but for those in quotes.
_ELEMENT = re.compile(r'(?:"[^"\\]*"|[^",])+')
# Values with a colon are to be quoted, but not every proxy does.
_PAIR = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"([^\"\\]*)\"|([^\s\",;]+))\s*")
# Azure's and some other proxies write the client's port too.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Said:
    """What the proxy that connected says; "" for what it does not say."""

    scheme: str = ""
    host: str = ""
    client: str = ""


NOTHING_SAID = Said()


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return comma-separated addresses and CIDR networks; SettingsError names the one that is neither."""
    try:
        return networks_in(text)
    except ValueError as err:
        raise SettingsError(f"MUSTER_GATEWAY_TRUSTED_PROXIES: {err}") from None


def source_of(address: str) -> str:
    """Return whom the limits per source mean by ``address``: itself, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    found = parse_address(address)
    if not isinstance(found, ipaddress.IPv6Address):
        return address
    return str(ipaddress.IPv6Network((int(found), SOURCE_PREFIX_V6), strict=False))


# The same few clients come again and again, and each request asks.
@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Return the address, of IPv4 where an IPv6 one only wraps it, without its zone; None if it is none."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return unmapped(found)


class Proxies:
    """The networks whose word counts."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = tuple(trusted)

    def is_trusted(self, remote: str) -> bool:
        """Whether the peer at ``remote`` is one of the proxies."""
        if not self._trusted:
            return False
        address = parse_address(remote)
        return address is not None and any(address in network for network in self._trusted)

    def said(self, request: web.BaseRequest) -> Said:
        """Return what the proxy that connected says; nothing if no proxy did. BadRequest if it is malformed."""
        if not self.is_trusted(request.remote or ""):
            return NOTHING_SAID
        older = Said(
            _last(request, hdrs.X_FORWARDED_PROTO),
            _last(request, hdrs.X_FORWARDED_HOST),
            _last(request, hdrs.X_FORWARDED_FOR),
        )
        if hdrs.FORWARDED not in request.headers:
            return older
        last = _last_element(request.headers.getall(hdrs.FORWARDED)[-1])
        newer = Said(last.get("proto", ""), last.get("host", ""), last.get("for", ""))
        return newer if older == NOTHING_SAID else _agreed(newer, older)

    def client_address(self, request: web.BaseRequest) -> str:
        """Return the client's address: what the proxy says, else the peer's; "" for a peer without one.

        A proxy that hides it ("unknown", "_hidden") is itself the client.
        """
        found = _client(self.said(request).client) or parse_address(request.remote or "")
        return "" if found is None else str(found)


def _last(request: web.BaseRequest, name: str) -> str:
    return request.headers.getall(name, [""])[-1].rpartition(",")[2].strip()


def _client(said: str) -> Address | None:
    """Return the address that a proxy says, with or without a port; None if it says none."""
    match = _WITH_PORT.fullmatch(said)
    return parse_address((match[1] or match[2]) if match else said)


def _agreed(newer: Said, older: Said) -> Said:
    """Return what Forwarded says; BadRequest if the other kind names another client: one of them may be made up.

    Scheme and host decide about the URLs in the client's own answer alone: there Forwarded wins.
    """
    if _client(newer.client) != _client(older.client):
        raise BadRequest("Forwarded and X-Forwarded-For differ: the proxy has to take off what it does not write")
    return newer


def _last_element(text: str) -> dict[str, str]:
    """Return the parameters of the last element, names in lower case; BadRequest if it is malformed."""
    elements = _ELEMENT.findall(text)
    if not elements or not text.endswith(elements[-1]):
        raise BadRequest("the Forwarded header is malformed")
    said = {}
    for part in elements[-1].split(";"):
        pair = _PAIR.fullmatch(part)
        if pair is None and part.strip():
            raise BadRequest("the Forwarded header is malformed")
        if pair is not None:
            said[pair[1].lower()] = pair[2] or pair[3] or ""
    return said
