"""Where the URLs in answers start: the setting, else what a trusted proxy says, else the request's own scheme and Host.

Whose word counts stands in ``forwarded.py``. Behind two proxies in a row, tell the URL with
``MUSTER_GATEWAY_PUBLIC_URL``.
"""

import re

from aiohttp import web

from control_plane.scim.errors import BadRequest
from scim_gateway.forwarded import Proxies

SCIM_PREFIX = "/scim/v2"

HOST = re.compile(r"[0-9A-Za-z._\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_SCHEMES = frozenset({"http", "https"})


class BaseUrl:
    """The absolute URL before "/Users", as the outside sees it."""

    def __init__(self, public_url: str, proxies: Proxies) -> None:
        """``public_url`` is what stands before "/scim/v2", or "" to ask each request."""
        self._fixed = public_url.rstrip("/") + SCIM_PREFIX if public_url else ""
        self._proxies = proxies

    def of(self, request: web.Request) -> str:
        """Return the base URL for the answer to ``request``; BadRequest if what it says is no scheme or no host."""
        if self._fixed:
            return self._fixed
        said = self._proxies.said(request)
        scheme, host = (said.scheme or request.scheme).lower(), said.host or request.host
        if scheme not in _SCHEMES:
            raise BadRequest("the forwarded scheme is neither http nor https")
        if not HOST.fullmatch(host):
            raise BadRequest("the request's host is not a host name")
        return f"{scheme}://{host}{SCIM_PREFIX}"
