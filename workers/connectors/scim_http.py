"""A thin SCIM client on aiohttp: one request, one answer, every limit stated."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from control_plane.outgoing.guard import Guard, Refused
from control_plane.outgoing.http import guarded_session, refusal_in
from control_plane.runtime.clock import Clock
from workers.connectors.base import Document, Permit, Rejected, TargetError, TargetFailed, Unreachable
from workers.connectors.scim_errors import error_of, retry_after_s
from workers.limits import id_fault, shortened
from workers.messages import ScimTarget

MAX_ANSWER_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
# Connections to one target; more requests wait for a free one, within their time limit.
MAX_CONNECTIONS = 64
MEDIA_TYPE = "application/scim+json"

Observe = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target said. ``body`` is None if it said nothing, or nothing that is a JSON object."""

    request: str  # such as "PATCH /Users", for error texts
    status: int
    media_type: str
    body: Document | None
    is_empty: bool
    location: str
    retry_after_s: float | None

    @property
    def ok(self) -> bool:
        """Return whether the status is a success."""
        return 200 <= self.status < 300

    @property
    def scim_type(self) -> str:
        """Return the scimType of an error body (RFC 7644 section 3.12), or ""."""
        return _text(self.body, "scimType")

    def error(self) -> TargetError:
        """Return the error that this answer stands for, with the target's own detail."""
        return error_of(self.status, self.text(), self.retry_after_s)

    def text(self) -> str:
        """Return this answer in words."""
        kind = f" ({self.scim_type})" if self.scim_type else ""
        detail = f": {_text(self.body, 'detail')}" if _text(self.body, "detail") else ""
        return shortened(f"{self.request} was answered with {self.status}{kind}{detail}")

    def check(self) -> None:
        """Raise unless the request succeeded. One that is not JSON did not: a login page answers 200 to anything."""
        if not self.ok:
            raise self.error()
        if self.body is None and not self.is_empty:
            what = self.media_type or "an unnamed type"
            raise TargetFailed(
                f"{self.request} was answered with {self.status} and {what} instead of a SCIM JSON object"
            )

    def resource(self) -> Document:
        """Return the body of a success that must have one."""
        self.check()
        if self.body is None:
            raise TargetFailed(f"{self.request} was answered with {self.status} and no body")
        return self.body


class ScimClient:
    """Requests to one target with its bearer token. Use between ``open`` and ``close``."""

    def __init__(self, target: ScimTarget, clock: Clock, observe: Observe, guard: Guard) -> None:
        """``observe`` gets the code and the seconds of each request; ``guard`` says where one may go."""
        self._target, self._clock, self._observe, self._guard = target, clock, observe, guard
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the session; no connection yet."""
        if self._session is None:
            self._session = guarded_session(
                self._guard,
                connections=MAX_CONNECTIONS,
                headers={
                    "Authorization": f"Bearer {self._target.bearer_token}",
                    "Accept": f"{MEDIA_TYPE}, application/json;q=0.9",
                    # A small answer must not unfold into a large one.
                    "Accept-Encoding": "identity",
                    "User-Agent": "muster-worker",
                },
            )

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self, permit: Permit, method: str, path: str, *, query: str = "", body: Document | None = None
    ) -> Answer:
        """Return the target's answer, whatever its status; Unreachable or TargetFailed if there is none.

        ``path`` and ``query`` are percent-encoded. After TargetFailed it is unknown whether a write took effect.
        """
        assert self._session is not None, "open() comes first"
        name = f"{method} /{path.split('/')[1]}"
        url = URL(self._target.base_url + path + (f"?{query}" if query else ""), encoded=True)
        timeout_s = await permit.call()
        started, code = self._clock.monotonic(), "broken"
        try:
            async with self._session.request(
                method,
                url,
                data=None if body is None else orjson.dumps(body),
                headers={} if body is None else {"Content-Type": MEDIA_TYPE},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                answer = await self._read(name, response)
            code = str(answer.status)
            return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, Refused) as err:
            code = "unreachable"
            raise Unreachable(f"{name}: no connection to the target: {_why(err)}") from err
        except TimeoutError as err:
            code = "timeout"
            raise TargetFailed(f"{name}: no answer within {timeout_s:g} s; what became of it is unknown") from err
        except aiohttp.ClientError as err:
            raise TargetFailed(
                f"{name}: the connection broke ({type(err).__name__}); what became of it is unknown"
            ) from err
        except asyncio.CancelledError:
            code = "cancelled"
            raise
        finally:
            self._observe(code, self._clock.monotonic() - started)

    async def _read(self, name: str, response: aiohttp.ClientResponse) -> Answer:
        raw = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            raw += chunk
            if len(raw) > MAX_ANSWER_BYTES:
                raise TargetFailed(f"{name} was answered with more than {MAX_ANSWER_BYTES} bytes")
        return Answer(
            request=name,
            status=response.status,
            media_type=response.content_type if "Content-Type" in response.headers else "",
            body=self._parse(bytes(raw)),
            is_empty=not raw.strip(),
            location=response.headers.get("Location", ""),
            retry_after_s=retry_after_s(response.headers.get("Retry-After"), self._clock.now()),
        )

    def _parse(self, raw: bytes) -> Document | None:
        # Some targets echo the request, and with it the credential, in their errors.
        token = self._target.bearer_token.encode()
        if token and token in raw:
            raw = raw.replace(token, b"[redacted]")
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None


def resource_path(endpoint: str, remote_id: str) -> str:
    """Return the path of one resource, such as "/Users/42"; an id that looks like a path stays one segment."""
    segment = quote(remote_id, safe="")
    return f"/{endpoint}/{segment.replace('.', '%2E') if not segment.strip('.') else segment}"


def checked_id(request: str, value: object) -> str:
    """Return the id that a target gave in its answer to ``request``: every id comes in through here.

    TargetFailed if there is none, Rejected if it is one that nobody can keep.
    """
    if not isinstance(value, str) or not value:
        raise TargetFailed(f"{request} was answered with a resource without an id")
    if fault := id_fault(value):
        raise Rejected(f"{request} was answered with a resource that cannot be linked: its id {fault}")
    return value


def filter_query(attribute: str, value: str) -> str:
    """Return ``filter=<attribute> eq "<value>"``, encoded; the value is a JSON string (RFC 7644 section 3.4.2.2)."""
    return "filter=" + quote(f"{attribute} eq {orjson.dumps(value).decode()}", safe="")


def _text(body: Any, field: str) -> str:
    value = body.get(field) if isinstance(body, dict) else None
    return value if isinstance(value, str) else ""


def _why(err: Exception) -> str:
    if (refusal := refusal_in(err)) is not None:
        return str(refusal)
    if isinstance(err, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(err, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(err, aiohttp.InvalidURL):
        return "the base URL is not valid"
    if isinstance(err, aiohttp.ClientConnectorError):
        return err.os_error.strerror or type(err.os_error).__name__
    return "timeout"
