"""What a request says: who acts, base URL, body, query. Nothing here looks into JSON."""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import hdrs, web

from control_plane.scim.errors import (
    BadRequest,
    InvalidCount,
    InvalidCursor,
    InvalidFilter,
    InvalidSyntax,
    InvalidValue,
    PayloadTooLarge,
    ResourceNotFound,
    ScimError,
    UnsupportedMediaType,
)
from control_plane.scim.messages import SearchRequest, parse_sort_order
from scim_gateway.caller import Caller, Client
from scim_gateway.errors import RequestTimeout

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
CLIENT: web.RequestKey[Client] = web.RequestKey("client", Client)

MEDIA_TYPES = frozenset({"application/scim+json", "application/json"})
# The control plane's own limits (directory.proto), so that it need not be asked.
MAX_FILTER_BYTES = 2_048
MAX_SORT_BYTES = 1_024
MAX_NAMES_BYTES = 8_192
MAX_CURSOR_BYTES = 8_192
MAX_ID_LENGTH = 200
MAX_ETAG_LENGTH = 1_000
# Beyond what int64 holds every number means the same: the last page, or all of it.
MAX_INTEGER = 10**18

_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_BOM = b"\xef\xbb\xbf"
# Parameters of a list that have one value.
_SINGLE = ("filter", "sortBy", "sortOrder", "startIndex", "count", "cursor")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, for the audit trail."""

    tenant_id: str
    key_id: str
    client: Client


@dataclass(frozen=True, slots=True)
class Selection:
    """The attributes asked for (RFC 7644 section 3.9), as written; both empty: the default."""

    attributes: str
    excluded: str

    def __bool__(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.attributes or self.excluded)


@dataclass(frozen=True, slots=True)
class Conditions:
    """If-Match and If-None-Match, lists included; empty if not sent."""

    match: str
    none_match: str


DEFAULT_SELECTION = Selection("", "")
NO_CONDITIONS = Conditions("", "")


def actor_of(request: web.Request) -> Actor:
    """Return who sends this (authenticated) request."""
    caller = request[CALLER]
    return Actor(caller.tenant_id, caller.key_id, request[CLIENT])


def resource_id(request: web.Request, kind: str) -> str:
    """Return the id in the path; one that no resource can have is ResourceNotFound at once."""
    given = request.match_info["id"]
    if len(given) > MAX_ID_LENGTH or "\0" in given or not _is_text(given):
        raise ResourceNotFound(f"no such {kind}")
    return given


def conditions_of(request: web.Request) -> Conditions:
    """Return the preconditions; BadRequest if one is longer than any list of entity tags."""
    headers = request.headers
    if hdrs.IF_MATCH not in headers and hdrs.IF_NONE_MATCH not in headers:
        return NO_CONDITIONS
    return Conditions(_tags(request, hdrs.IF_MATCH), _tags(request, hdrs.IF_NONE_MATCH))


def selection(request: web.Request) -> Selection:
    """Return ``attributes`` and ``excludedAttributes``; repeated parameters add up. InvalidValue if one is too long."""
    query = request.query
    if not query:
        return DEFAULT_SELECTION
    _refuse_broken_query(request)
    return Selection(
        _bounded(",".join(query.getall("attributes", ())), MAX_NAMES_BYTES, "attributes"),
        _bounded(",".join(query.getall("excludedAttributes", ())), MAX_NAMES_BYTES, "excludedAttributes"),
    )


def search_of(request: web.Request) -> SearchRequest:
    """Return the query of a list (RFC 7644 section 3.4.2, RFC 9865 section 2).

    InvalidValue if a number is none (InvalidCount for ``count`` beside a cursor) or ``sortOrder`` no order; unknown
    parameters are ignored. A parameter given twice counts if both say the same: nobody shall find that the one he
    meant was the one left out.
    """
    query, chosen = request.query, selection(request)
    given = {name: _once(query.getall(name), name) for name in _SINGLE if name in query}
    cursor, count, order = given.get("cursor"), given.get("count"), given.get("sortOrder", "")
    return SearchRequest(
        attributes=chosen.attributes,
        excluded=chosen.excluded,
        filter=given.get("filter", ""),
        sort_by=given.get("sortBy", "").strip(),
        descending=parse_sort_order(order),
        start_index=_integer(given.get("startIndex", "1"), "startIndex", InvalidValue),
        count=None if count is None else _integer(count, "count", InvalidValue if cursor is None else InvalidCount),
        cursor=cursor,
    )


def checked(asked: SearchRequest) -> SearchRequest:
    """Return ``asked``, from a query or a body, if the control plane will read it; the error names what is too long."""
    _bounded(asked.filter, MAX_FILTER_BYTES, "the filter", InvalidFilter)
    _bounded(asked.sort_by, MAX_SORT_BYTES, "sortBy")
    _bounded(asked.attributes, MAX_NAMES_BYTES, "attributes")
    _bounded(asked.excluded, MAX_NAMES_BYTES, "excludedAttributes")
    _bounded(asked.cursor or "", MAX_CURSOR_BYTES, "the cursor", InvalidCursor)
    return asked


def clamped(number: int) -> int:
    """Return ``number`` as int64 can hold it: beyond 10^18 every number means the same."""
    return max(-MAX_INTEGER, min(MAX_INTEGER, number))


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
    if body.startswith(_BOM):
        # RFC 8259 section 8.1 lets a parser ignore it, and serializers of .NET write it.
        del body[: len(_BOM)]
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


def _tags(request: web.Request, name: str) -> str:
    given = ", ".join(request.headers.getall(name, []))
    if len(given) > MAX_ETAG_LENGTH or not _is_text(given):
        raise BadRequest(f"the {name} header is not a list of entity tags")
    return given


def _refuse_broken_query(request: web.Request) -> None:
    """Raise InvalidFilter or InvalidValue for what is not UTF-8: yarl puts U+FFFD there, and another question."""
    raw = request.rel_url.raw_query_string
    if "%" not in raw:
        return
    for part in raw.split("&"):
        name, _, value = part.partition("=")
        try:
            unquote(value, errors="strict")
        except UnicodeDecodeError:
            refusal = InvalidFilter if name == "filter" else InvalidValue
            raise refusal(f"{name[:MAX_ID_LENGTH]} is not valid UTF-8") from None


def _once(values: list[str], name: str) -> str:
    if any(value != values[0] for value in values):
        refusal = InvalidFilter if name == "filter" else InvalidValue
        raise refusal(f"{name} is given {len(values)} times, with different values")
    return values[0]


def _integer(given: str, name: str, refusal: type[ScimError]) -> int:
    if not _INTEGER.fullmatch(given.strip()):
        raise refusal(f"{name} is not an integer")
    return int(given)


def _bounded(text: str, max_bytes: int, name: str, refusal: type[ScimError] = InvalidValue) -> str:
    if not _is_text(text):
        raise refusal(f"{name} is not valid UTF-8")
    if "\0" in text:
        raise refusal(f"{name} holds the character NUL")
    if len(text) > max_bytes // 4 and len(text.encode()) > max_bytes:
        raise refusal(f"{name} is longer than {max_bytes} bytes")
    return text


def _is_text(given: str) -> bool:
    """Whether gRPC can carry it: bytes outside UTF-8 arrive as lone surrogates."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True
