"""Where the URLs in answers start: the setting, else what a trusted proxy says, else the request's own scheme and Host.

A header that anybody can send decides nothing: ``Forwarded`` (RFC 7239) and ``X-Forwarded-Proto``/``-Host`` count only
if the connection comes from a network of ``MUSTER_GATEWAY_TRUSTED_PROXIES``, and of several values only the last, which
that proxy wrote itself. Behind two proxies in a row, tell the URL with ``MUSTER_GATEWAY_PUBLIC_URL``.
"""

import ipaddress
import re
from collections.abc import Sequence

from aiohttp import hdrs, web

from control_plane.runtime.settings import SettingsError
from control_plane.scim.errors import BadRequest

SCIM_PREFIX = "/scim/v2"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[0-9A-Za-z._\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_SCHEMES = frozenset({"http", "https"})
# An element of Forwarded: commas stand between elements, but for those in quotes.
_ELEMENT = re.compile(r'(?:"[^"\\]*"|[^",])+')
# Values with a colon are to be quoted, but not every proxy does.
_PAIR = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"([^\"\\]*)\"|([^\s\",;]+))\s*")


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return comma-separated addresses and CIDR networks; SettingsError names the one that is neither."""
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as err:
        raise SettingsError(f"MUSTER_GATEWAY_TRUSTED_PROXIES: {err}") from None


class BaseUrl:
    """The absolute URL before "/Users", as the outside sees it."""

    def __init__(self, public_url: str, trusted: Sequence[Network]) -> None:
        """``public_url`` is what stands before "/scim/v2", or "" to ask each request."""
        self._fixed = public_url.rstrip("/") + SCIM_PREFIX if public_url else ""
        self._trusted = tuple(trusted)

    def of(self, request: web.Request) -> str:
        """Return the base URL for the answer to ``request``; BadRequest if what it says is no scheme or no host."""
        if self._fixed:
            return self._fixed
        scheme, host = request.scheme, request.host
        if self._trusted and self._is_trusted(request.remote or ""):
            said_scheme, said_host = _forwarded(request)
            scheme, host = (said_scheme or scheme).lower(), said_host or host
        if scheme not in _SCHEMES:
            raise BadRequest("the forwarded scheme is neither http nor https")
        if not _HOST.fullmatch(host):
            raise BadRequest("the request's host is not a host name")
        return f"{scheme}://{host}{SCIM_PREFIX}"

    def _is_trusted(self, remote: str) -> bool:
        try:
            address = ipaddress.ip_address(remote)
        except ValueError:
            return False
        # A socket that listens on "::" sees IPv4 peers as ::ffff:a.b.c.d.
        plain = (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
        return any(plain in network for network in self._trusted)


def _forwarded(request: web.Request) -> tuple[str, str]:
    """Return scheme and host as the proxy that connected says; "" for what it does not say."""
    if hdrs.FORWARDED in request.headers:
        said = _last_element(request.headers.getall(hdrs.FORWARDED)[-1])
        return said.get("proto", ""), said.get("host", "")
    return _last(request, hdrs.X_FORWARDED_PROTO), _last(request, hdrs.X_FORWARDED_HOST)


def _last(request: web.Request, name: str) -> str:
    return request.headers.getall(name, [""])[-1].rpartition(",")[2].strip()


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
