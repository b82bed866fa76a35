"""A SCIM client that knows nothing of Muster: one HTTP connection, targets sent as they are written.

What holds for every answer is checked here, once: no 5xx but an honest 501, errors in the form of RFC 7644 section
3.12, one media type, ``Location`` equal to ``meta.location`` (section 3.1), the version in the ETag header (3.14).
"""

import http.client
import json
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
SCIM_TYPE = "application/scim+json"
ANSWER_TYPE = "application/scim+json; charset=utf-8"
TIMEOUT_S = 30
# RFC 7644 table 9 and RFC 9865 section 2.1.
SCIM_TYPES = frozenset(
    {
        *("invalidFilter", "tooMany", "uniqueness", "mutability", "invalidSyntax", "invalidPath", "noTarget"),
        *("invalidValue", "invalidVers", "sensitive", "invalidCursor", "expiredCursor", "invalidCount"),
    }
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str | None]:
        """Status and scimType of an answer that must be an error."""
        assert self.status >= 400, f"{self.status}: {self.body[:500]!r}"
        return self.status, self.json.get("scimType")

    @property
    def etag(self) -> str:
        """The ETag header."""
        return self.headers["ETag"] or ""

    def ok(self, *statuses: int) -> Any:
        """Return the parsed body (None if empty) of an answer with one of ``statuses`` (200 unless given)."""
        assert self.status in (statuses or (200,)), f"{self.status}: {self.body[:1000]!r}"
        return self.json if self.body else None


@dataclass
class Idp:
    """One tenant's identity provider: whoever holds its token."""

    base: str
    token: str
    tenant: str = ""
    user_agent: str = "conformance"
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def send(self, method: str, target: str, body: Any = None, /, **headers: str) -> Answer:
        """Send a request below the base, ``target`` as written; header names with underscores.

        A body of bytes or str goes as it is, anything else as JSON. An empty header value leaves the header out.
        """
        place = urlsplit(self.base)
        given = {"Authorization": f"Bearer {self.token}", "User-Agent": self.user_agent, "Accept": SCIM_TYPE}
        if body is not None:
            given["Content-Type"] = SCIM_TYPE
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes | None) else body.encode() if isinstance(body, str) else _dumps(body)
        sent = {name: value for name, value in given.items() if value}
        for last_try in (False, True):
            if self._connection is None:
                self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT_S)
            fresh = self._connection.sock is None
            try:
                self._connection.request(method, place.path + target, body=raw, headers=sent)
                received = self._connection.getresponse()
                answer = Answer(received.status, received.headers, received.read())
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                # A server may close an idle connection; but nobody may hang up on a new one.
                self.close()
                if last_try or fresh:
                    raise
        check(method, answer, self.base)
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, target: str, **headers: str) -> Any:
        """GET and return the body of a 200."""
        return self.send("GET", target, **headers).ok()

    def post(self, target: str, body: Any, **headers: str) -> Any:
        """POST and return the body of a 201 (or of a search's 200)."""
        return self.send("POST", target, body, **headers).ok(201, 200)

    def put(self, target: str, body: Any, **headers: str) -> Any:
        """PUT and return the body of a 200."""
        return self.send("PUT", target, body, **headers).ok()

    def patch(self, target: str, *operations: Json, **headers: str) -> Any:
        """PATCH and return the body of a 200."""
        return self.try_patch(target, *operations, **headers).ok(200)

    def try_patch(self, target: str, *operations: Json, **headers: str) -> Answer:
        """PATCH and return the answer, whatever it is."""
        return self.send("PATCH", target, {"schemas": [PATCH_OP], "Operations": list(operations)}, **headers)

    def delete(self, target: str, **headers: str) -> None:
        """DELETE; 204 without a body."""
        answer = self.send("DELETE", target, **headers)
        assert (answer.status, answer.body) == (204, b""), answer

    def list(self, kind: str, condition: str = "", /, **query: str | int) -> Any:
        """Return the ListResponse of GET /``kind``."""
        return self.search(kind, condition, **query).ok()

    def search(self, kind: str, condition: str = "", /, **query: str | int) -> Answer:
        """GET /``kind`` with a filter and other parameters, percent-encoded."""
        pairs = {**({"filter": condition} if condition else {}), **query}
        return self.send("GET", f"/{kind}" + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else ""))

    def names(self, condition: str, kind: str = "Users", **query: str | int) -> set[str]:
        """Return the userNames (displayNames of groups) that a filter finds; totalResults must agree."""
        page = self.list(kind, condition, **query)
        assert page["totalResults"] == len(page["Resources"]), page
        return {one["userName" if kind == "Users" else "displayName"] for one in page["Resources"]}

    def user(self, name: str = "", /, **attributes: Any) -> Any:
        """Create a user and return it."""
        return self.post("/Users", a_user(name, **attributes))

    def group(self, name: str = "", /, *members: str, **attributes: Any) -> Any:
        """Create a group and return it."""
        body = {"schemas": [GROUP], "displayName": name or f"group-{uuid4().hex[:12]}", **attributes}
        return self.post("/Groups", body | ({"members": [{"value": one} for one in members]} if members else {}))

    def members(self, group: str) -> set[str]:
        """Return the ids of a group's members; each must be there once."""
        found = [one["value"] for one in self.get(f"/Groups/{group}").get("members", [])]
        assert len(found) == len(set(found))
        return set(found)


def a_user(name: str = "", /, **attributes: Any) -> Json:
    """Return the body of a user; ``enterprise=`` is the extension's."""
    extension = attributes.pop("enterprise", None)
    body: Json = {"schemas": [USER], "userName": name or f"user-{uuid4().hex[:12]}", **attributes}
    if extension is not None:
        body["schemas"], body[ENTERPRISE] = [USER, ENTERPRISE], extension
    return body


def check(method: str, answer: Answer, base: str) -> None:
    """Assert what every answer must be."""
    assert answer.status < 500 or answer.status == 501, f"{method}: {answer.status} {answer.body[:1000]!r}"
    if answer.status in (204, 304):
        assert answer.body == b""
        return
    if answer.body:
        assert answer.headers["Content-Type"] == ANSWER_TYPE, answer.headers["Content-Type"]
    if answer.status >= 400:
        content = answer.json
        assert content["schemas"] == [ERROR]
        assert content["status"] == str(answer.status)
        assert content["detail"]
        assert content.keys() <= {"schemas", "status", "scimType", "detail"}
        assert content.get("scimType", "tooMany") in SCIM_TYPES
        return
    content = answer.json if answer.body else {}
    meta = content.get("meta", {}) if isinstance(content, dict) else {}
    if answer.status == 201:
        assert answer.headers["Location"]
    if "location" in meta and meta.get("resourceType") in ("User", "Group"):
        assert meta["location"] == f"{base}/{meta['resourceType']}s/{content['id']}"
        assert (answer.headers["Location"] or meta["location"]) == meta["location"]
        if "version" in meta and answer.etag:
            assert meta["version"] == answer.etag


def _dumps(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
