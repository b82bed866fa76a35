"""What a request says: who acts, base URL, body, query. Nothing here looks into JSON."""

import asyncio
import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from control_plane.scim.errors import (
    BadRequest,
    InvalidFilter,
    InvalidSyntax,
    InvalidValue,
    PayloadTooLarge,
    ResourceNotFound,
    UnsupportedMediaType,
)
from scim_gateway.errors import RequestTimeout
from scim_gateway.token_verifier import Caller

SCIM_PREFIX = "/scim/v2"
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)

MEDIA_TYPES = frozenset({"application/scim+json", "application/json"})
# The control plane's own limits (directory.proto), so that it need not be asked.
MAX_FILTER_BYTES = 2_048
MAX_ID_LENGTH = 200
MAX_ETAG_LENGTH = 1_000
# Beyond what int64 holds every number means the same: the last page, or all of it.
MAX_INTEGER = 10**18

_HOST = re.compile(r"[0-9A-Za-z._\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, for the audit trail."""

    tenant_id: str
    key_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of a list: RFC 7644 sections 3.4.2.2 and 3.4.2.4. ``count`` None: not given."""

    filter: str
    start_index: int
    count: int | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The attributes asked for (RFC 7644 section 3.9), as written; both empty: the default."""

    attributes: str
    excluded: str

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.attributes or self.excluded)


def actor_of(request: web.Request) -> Actor:
    """Return who sends this (authenticated) request."""
    caller = request[CALLER]
    return Actor(caller.tenant_id, caller.key_id, request.remote or "")


def base_url(request: web.Request, public_url: str) -> str:
    """Return the absolute URL before "/Users": from the setting, or from the request; BadRequest if Host is no host."""
    if public_url:
        return public_url.rstrip("/") + SCIM_PREFIX
    if not _HOST.fullmatch(request.host):
        raise BadRequest("the Host header is not a host name")
    return f"{request.scheme}://{request.host}{SCIM_PREFIX}"


def resource_id(request: web.Request, kind: str) -> str:
    """Return the id in the path; one that no resource can have is ResourceNotFound at once."""
    given = request.match_info["id"]
    if len(given) > MAX_ID_LENGTH or not _is_text(given):
        raise ResourceNotFound(f"no such {kind}")
    return given


def etag_of(request: web.Request) -> str:
    """Return the If-Match header, lists included; empty if there is none."""
    given = ", ".join(request.headers.getall(hdrs.IF_MATCH, []))
    if len(given) > MAX_ETAG_LENGTH or not _is_text(given):
        raise BadRequest("the If-Match header is not a list of entity tags")
    return given


def list_query(request: web.Request) -> ListQuery:
    """Return the query of a list; InvalidValue if a number is none, InvalidFilter if the filter is too long.

    ``sortBy`` and unknown parameters are ignored, as RFC 7644 section 3.4.2.3 allows. A cursor is not: a client that
    pages by it would read the first page for ever.
    """
    query = request.query
    if "cursor" in query:
        raise BadRequest("paging by cursor (RFC 9865) is not supported yet: use startIndex and count")
    filter_text = query.get("filter", "")
    if not _is_text(filter_text):
        raise InvalidFilter("the filter is not valid UTF-8")
    if len(filter_text.encode()) > MAX_FILTER_BYTES:
        raise InvalidFilter(f"the filter is longer than {MAX_FILTER_BYTES} bytes")
    start_index = _integer(query.get("startIndex", "1"), "startIndex")
    count = _integer(query["count"], "count") if "count" in query else None
    return ListQuery(filter_text, start_index, count)


def selection(request: web.Request) -> Selection:
    """Return ``attributes`` and ``excludedAttributes``; repeated parameters add up."""
    query = request.query
    return Selection(",".join(query.getall("attributes", [])), ",".join(query.getall("excludedAttributes", [])))


async def body_text(request: web.Request, max_bytes: int, timeout_s: float) -> str:
    """Return the body, unparsed; refuses other media types, codings, sizes, slowness and what is not UTF-8."""
    _refuse_other_media(request)
    too_large = PayloadTooLarge(f"the body is larger than {max_bytes} bytes")
    if (request.content_length or 0) > max_bytes:
        raise too_large
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        # Only now: a body that would be refused is never sent.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s") from None
    except web.RequestPayloadError:
        raise BadRequest("the body's transfer coding is broken") from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidSyntax("the body is not valid UTF-8") from None


def _refuse_other_media(request: web.Request) -> None:
    # request.content_type would turn an absent header into application/octet-stream.
    media_type = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if media_type and media_type not in MEDIA_TYPES:
        raise UnsupportedMediaType("send application/scim+json or application/json")
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType("compressed bodies are not supported")


def _integer(given: str, name: str) -> int:
    if not _INTEGER.fullmatch(given.strip()):
        raise InvalidValue(f"{name} is not an integer")
    return max(-MAX_INTEGER, min(MAX_INTEGER, int(given)))


def _is_text(given: str) -> bool:
    """Whether gRPC can carry it: bytes outside UTF-8 arrive as lone surrogates."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
