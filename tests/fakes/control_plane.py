"""An in-memory control plane behind a real gRPC port: what the gateway talks to in its tests.

It is no second implementation of SCIM: documents are taken as they come. Errors carry the same google.rpc details as
the real one's. Faults are switched on by attributes.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import uuid4

import grpc
import orjson
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from control_plane.scim import errors as scim
from protos.directory.v1 import directory_pb2 as directory
from protos.directory.v1.directory_pb2_grpc import DirectoryServiceServicer, add_DirectoryServiceServicer_to_server
from protos.tenancy.v1 import tenancy_pb2 as tenancy
from protos.tenancy.v1.tenancy_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server

GATEWAY_TOKEN = "fake-gateway-token"
TENANT = "018f0000-0000-7000-8000-000000000001"
OTHER_TENANT = "018f0000-0000-7000-8000-000000000002"
CREATED = datetime(2026, 3, 1, 9, 30, 0, 123_456, tzinfo=UTC)
INLINE_MEMBERS = 1_000
HEARTBEAT_S = 0.1

Context = Any  # grpc.aio.ServicerContext, whose stubs do not know abort_with_status


@dataclass
class Fault:
    """What goes wrong at the next calls, until cleared."""

    code: grpc.StatusCode
    reason: str = ""
    retry_after_s: float | None = None


@dataclass
class Faults:
    """Switches of the fake."""

    call: Fault | None = None  # every unary call and list fails with it
    members_after: int | None = None  # StreamMembers breaks after so many pieces
    members_gone: bool = False  # StreamMembers says that the group does not exist
    watch_refused: bool = False
    watch_silent: bool = False  # streams stay open and say nothing


@dataclass
class Seen:
    """A call that arrived."""

    method: str
    message: Any
    metadata: dict[str, str]


@dataclass
class State:
    """Everything the fake holds."""

    tokens: dict[str, tenancy.VerifyTokenResponse] = field(default_factory=dict)
    refusals: dict[str, tuple[str, str]] = field(default_factory=dict)  # token -> cause, tenant
    resources: dict[tuple[str, str], directory.Resource] = field(default_factory=dict)  # (tenant, id)
    members: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # group id -> member objects
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: calls wait before they answer
    watchers: set[asyncio.Queue[tenancy.WatchTokensResponse | None]] = field(default_factory=set)

    async def enter(self, method: str, message: Any, context: Context) -> None:
        """Record the call and let it fail as the switches say."""
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.seen.append(Seen(method, message, metadata))
        if metadata.get("authorization") != f"Bearer {GATEWAY_TOKEN}":
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "bad service token", "SERVICE_TOKEN_REFUSED")
        await self.gate.wait()
        if (fault := self.faults.call) is not None:
            await _abort(context, fault.code, "secret internals", fault.reason, retry_after_s=fault.retry_after_s)


class FakeControlPlane:
    """The server; ``state`` may be looked at and changed at any time."""

    def __init__(self) -> None:
        self.state = State()
        self.state.gate.set()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen, after a stop on the same port."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
        add_DirectoryServiceServicer_to_server(_Directory(self.state), self._server)
        add_TokenServiceServicer_to_server(_Tokens(self.state), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Be gone, at once."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def issue(
        self,
        name: str,
        tenant: str = TENANT,
        scopes: tuple[tenancy.Scope.ValueType, ...] = (tenancy.SCOPE_SCIM_READ, tenancy.SCOPE_SCIM_WRITE),
        expires_at: datetime | None = None,
    ) -> str:
        """Make a token that works; ``name`` becomes its key id."""
        text = f"muster_test_{name:0>12}_{'A' * 49}"
        answer = tenancy.VerifyTokenResponse(
            tenant_id=tenant, token_id=str(uuid4()), key_id=f"{name:0>12}", scopes=scopes
        )
        if expires_at is not None:
            answer.expire_time.FromDatetime(expires_at)
        self.state.tokens[text] = answer
        return text

    def revoke(self, text: str) -> None:
        """Refuse the token from now on and tell every watcher."""
        answer = self.state.tokens.pop(text)
        self.state.refusals[text] = ("revoked", answer.tenant_id)
        for watcher in self.state.watchers:
            watcher.put_nowait(tenancy.WatchTokensResponse(token_id=answer.token_id))

    def sever_watch(self, *, refuse_new: bool) -> None:
        """Cut the watch streams; others are refused if asked for."""
        self.state.faults.watch_refused = refuse_new
        for watcher in self.state.watchers:
            watcher.put_nowait(None)

    def add_group(self, members: int, name: str = "Everyone", tenant: str = TENANT) -> str:
        """Store a group of so many members and return its id."""
        document = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name}
        resource = _new(directory.RESOURCE_TYPE_GROUP, document)
        self.state.resources[tenant, resource.id] = resource
        self.state.members[resource.id] = [
            {"value": f"018f0000-0000-7000-8000-{number:012x}", "type": "User"} for number in range(members)
        ]
        return resource.id

    def calls(self, method: str) -> list[Seen]:
        """Return the calls of one method that arrived so far."""
        return [call for call in self.state.seen if call.method == method]


class _Directory(DirectoryServiceServicer):
    def __init__(self, state: State) -> None:
        self._state = state

    async def CreateResource(self, request: Any, context: Context) -> directory.CreateResourceResponse:
        await self._state.enter("CreateResource", request, context)
        document = await _parsed(request.document, context)
        name = document.get("userName", "").lower()
        for (tenant, _), other in self._state.resources.items():
            if tenant == request.tenant_id and name and other.user_name.lower() == name:
                await _scim_abort(context, scim.Uniqueness("the userName is taken"))
        members = document.pop("members", [])
        resource = _new(request.type, document)
        self._state.resources[request.tenant_id, resource.id] = resource
        self._state.members[resource.id] = members
        return directory.CreateResourceResponse(resource=self._with_members(resource))

    async def GetResource(self, request: Any, context: Context) -> directory.GetResourceResponse:
        await self._state.enter("GetResource", request, context)
        resource = await self._find(request, context)
        return directory.GetResourceResponse(
            resource=self._with_members(resource) if request.with_members else resource
        )

    async def ListResources(self, request: Any, context: Context) -> AsyncIterator[directory.ListResourcesResponse]:
        await self._state.enter("ListResources", request, context)
        found = [
            resource
            for (tenant, _), resource in self._state.resources.items()
            if tenant == request.tenant_id and resource.type == request.type and _matches(resource, request.filter)
        ]
        start = max(1, request.start_index)
        count = max(0, min(200, request.count)) if request.HasField("count") else 100
        page = found[start - 1 : start - 1 + count]
        yield directory.ListResourcesResponse(total_results=len(found), start_index=start)
        for resource in page:
            shown = self._with_members(resource) if request.with_members else resource
            yield directory.ListResourcesResponse(resources=[shown])

    async def ReplaceResource(self, request: Any, context: Context) -> directory.ReplaceResourceResponse:
        await self._state.enter("ReplaceResource", request, context)
        resource = await self._find(request, context, request.etag)
        document = await _parsed(request.document, context)
        self._state.members[resource.id] = document.pop("members", [])
        self._store(resource, document)
        return directory.ReplaceResourceResponse(resource=self._with_members(resource))

    async def PatchResource(self, request: Any, context: Context) -> directory.PatchResourceResponse:
        """Merge the values of path-less operations: enough to see that something changed."""
        await self._state.enter("PatchResource", request, context)
        resource = await self._find(request, context, request.etag)
        document = orjson.loads(resource.document)
        for operation in (await _parsed(request.document, context)).get("Operations", []):
            document |= operation["value"]
        self._store(resource, document)
        return directory.PatchResourceResponse(resource=self._with_members(resource), changed=True)

    async def DeleteResource(self, request: Any, context: Context) -> directory.DeleteResourceResponse:
        await self._state.enter("DeleteResource", request, context)
        resource = await self._find(request, context, request.etag)
        del self._state.resources[request.tenant_id, resource.id]
        return directory.DeleteResourceResponse()

    async def StreamMembers(self, request: Any, context: Context) -> AsyncIterator[directory.StreamMembersResponse]:
        await self._state.enter("StreamMembers", request, context)
        if self._state.faults.members_gone:
            await _scim_abort(context, scim.ResourceNotFound("resource not found"))
        members = self._state.members[request.id]
        for piece, start in enumerate(range(0, len(members), 2_000)):
            if piece == self._state.faults.members_after:
                await _abort(context, grpc.StatusCode.UNAVAILABLE, "secret internals", "UNAVAILABLE")
            text = orjson.dumps(members[start : start + 2_000])[1:-1].decode()
            yield directory.StreamMembersResponse(members=text)

    async def _find(self, request: Any, context: Context, etag: str = "") -> directory.Resource:
        resource = self._state.resources.get((request.tenant_id, request.id))
        if resource is None or resource.type != request.type:
            await _scim_abort(context, scim.ResourceNotFound("resource not found"))
        if etag and etag != f'W/"{resource.version}"':
            await _scim_abort(context, scim.PreconditionFailed("the resource has another version"))
        return resource

    def _store(self, resource: directory.Resource, document: dict[str, Any]) -> None:
        resource.document = orjson.dumps(document).decode()
        resource.user_name = document.get("userName", "")
        resource.version += 1

    def _with_members(self, resource: directory.Resource) -> directory.Resource:
        shown = directory.Resource()
        shown.CopyFrom(resource)
        members = self._state.members.get(resource.id, [])
        shown.member_count = len(members)
        if members and len(members) <= INLINE_MEMBERS:
            shown.members = orjson.dumps(members).decode()
        return shown


class _Tokens(TokenServiceServicer):
    def __init__(self, state: State) -> None:
        self._state = state

    async def VerifyToken(self, request: Any, context: Context) -> tenancy.VerifyTokenResponse:
        await self._state.enter("VerifyToken", request, context)
        if (answer := self._state.tokens.get(request.presented)) is not None:
            return answer
        cause, tenant = self._state.refusals.get(request.presented, ("unknown", "unknown"))
        return await _abort(
            context,
            grpc.StatusCode.UNAUTHENTICATED,
            "the bearer token is missing, malformed or not valid",
            "TOKEN_REFUSED",
            {"cause": cause, "tenant": tenant},
        )

    async def WatchTokens(self, request: Any, context: Context) -> AsyncIterator[tenancy.WatchTokensResponse]:
        if ("authorization", f"Bearer {GATEWAY_TOKEN}") not in context.invocation_metadata():
            await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "bad service token", "SERVICE_TOKEN_REFUSED")
        if self._state.faults.watch_refused:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "watch refused", "UNAVAILABLE")
        events: asyncio.Queue[tenancy.WatchTokensResponse | None] = asyncio.Queue()
        self._state.watchers.add(events)
        try:
            yield tenancy.WatchTokensResponse(reset=True)
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        event = await events.get()
                except TimeoutError:
                    event = tenancy.WatchTokensResponse(heartbeat=True)
                if event is None:
                    await _abort(context, grpc.StatusCode.UNAVAILABLE, "cut", "UNAVAILABLE")
                if not self._state.faults.watch_silent:
                    yield event
        finally:
            self._state.watchers.discard(events)

    async def _unused(self, request: Any, context: Context) -> NoReturn:
        await _abort(context, grpc.StatusCode.UNIMPLEMENTED, "the gateway does not call this", "UNIMPLEMENTED")

    CreateToken = ListTokens = RotateToken = RevokeToken = _unused


def _new(kind: directory.ResourceType.ValueType, document: dict[str, Any]) -> directory.Resource:
    resource = directory.Resource(
        id=str(uuid4()),
        type=kind,
        version=1,
        user_name=document.get("userName", ""),
        display_name=document.get("displayName", ""),
        document=orjson.dumps(document).decode(),
    )
    resource.create_time.FromDatetime(CREATED)
    resource.update_time.FromDatetime(CREATED)
    return resource


def _matches(resource: directory.Resource, text: str) -> bool:
    """Know two filters: none, and userName eq "..."."""
    return not text or text.lower() == f'username eq "{resource.user_name.lower()}"'


async def _parsed(text: str, context: Context) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        await _scim_abort(context, scim.InvalidSyntax("the body is not JSON"))
    return parsed


async def _scim_abort(context: Context, err: scim.ScimError) -> NoReturn:
    metadata = {"status": str(err.status), "scim_type": err.scim_type or ""}
    await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, err.detail, "SCIM_ERROR", metadata)


async def _abort(
    context: Context,
    code: grpc.StatusCode,
    message: str,
    reason: str,
    metadata: dict[str, str] | None = None,
    retry_after_s: float | None = None,
) -> NoReturn:
    """End the call as control_plane/api/errors.py does."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="muster", metadata=metadata or {}))
    details = [info]
    if retry_after_s is not None:
        retry = any_pb2.Any()
        delay = duration_pb2.Duration(nanos=int(retry_after_s % 1 * 1e9), seconds=int(retry_after_s))
        retry.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        details.append(retry)
    status = status_pb2.Status(code=code.value[0], message=message, details=details)
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status always raises")
