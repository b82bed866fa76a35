"""Refuses requests that a proxy in front may have taken for another one (request smuggling, RFC 9112 section 11.2).

The parser refuses most of them: two lengths, a length beside a transfer coding, two Hosts, bare CR or LF, folded lines.
Here stands what it lets pass. Each is 400, and the connection ends with it. tests/web/test_gateway_smuggling.py tries
them all with a raw socket.
"""

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from scim_gateway.base_url import HOST
from scim_gateway.errors import AmbiguousRequest

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@web.middleware
async def refuse_ambiguous(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pass on what says one thing to everybody; AmbiguousRequest otherwise."""
    _check_coding(request)
    host = request.headers.get(hdrs.HOST)
    if host is not None and not HOST.fullmatch(host):
        raise AmbiguousRequest("the request's host is not a host name")
    _check_target(request, host or "")
    response = await handler(request)
    if hdrs.UPGRADE in request.headers:
        # The parser may have stopped reading HTTP here, for a protocol that we do not switch to.
        response.force_close()
    return response


def _check_coding(request: web.Request) -> None:
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, None)
    if codings is None:
        return
    # RFC 9112 section 6.1: HTTP/1.0 has no transfer codings, and we know one.
    if request.version < HttpVersion11 or len(codings) > 1 or codings[0].strip().lower() != "chunked":
        raise AmbiguousRequest("no other transfer coding than chunked is understood")


def _check_target(request: web.Request, host: str) -> None:
    target = request.raw_path
    if "#" in target:
        raise AmbiguousRequest("the request target has a fragment")
    if target.startswith("/") or "://" not in target:
        return  # what is neither a path nor a URL, no route knows
    # The absolute form (RFC 9112 section 3.2.2), which clients use towards a proxy: we are none.
    scheme, _, rest = target.partition("://")
    authority = rest.partition("/")[0].partition("?")[0]
    if scheme.lower() not in _DEFAULT_PORTS or not _is_same(scheme.lower(), authority, host):
        raise AmbiguousRequest("the request target is on another host")


def _is_same(scheme: str, one: str, other: str) -> bool:
    port = _DEFAULT_PORTS[scheme]
    return one.lower().removesuffix(port) == other.lower().removesuffix(port)
