"""An in-memory control plane behind a real gRPC port: what the gateway talks to in its tests.

Errors carry the same google.rpc details as the real one's. Faults are switched on by attributes of its state.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import uuid4

import grpc

from control_plane.scim.bearer import SECRET_LENGTH, checksum
from control_plane.scim.networks import Networks
from protos.directory.v1 import directory_pb2 as directory
from protos.directory.v1.directory_pb2_grpc import (
    add_DirectoryServiceServicer_to_server,
    add_SchemaServiceServicer_to_server,
)
from protos.tenancy.v1 import tenancy_pb2 as tenancy
from protos.tenancy.v1.tenancy_pb2_grpc import (
    TenantServiceServicer,
    TokenServiceServicer,
    add_TenantServiceServicer_to_server,
    add_TokenServiceServicer_to_server,
)
from tests.fakes.control_plane_directory import Directory, Schemas, new_resource
from tests.fakes.control_plane_state import GATEWAY_TOKEN, OTHER_TENANT, TENANT, Context, Fault, Seen, State, abort

__all__ = ["GATEWAY_TOKEN", "OTHER_TENANT", "TENANT", "FakeControlPlane", "Fault", "token_text"]

HEARTBEAT_S = 0.1


def token_text(name: str) -> str:
    """Return a well-formed token whose key id is ``name``, padded with zeros."""
    body = f"muster_test_{name:0>12}_{'A' * SECRET_LENGTH}"
    return body + checksum(body)


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
        add_DirectoryServiceServicer_to_server(Directory(self.state), self._server)
        add_SchemaServiceServicer_to_server(Schemas(self.state), self._server)
        add_TokenServiceServicer_to_server(_Tokens(self.state), self._server)
        add_TenantServiceServicer_to_server(_Tenants(self.state), self._server)
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
        networks: Sequence[str] = (),
    ) -> str:
        """Make a token that works; ``name`` becomes its key id."""
        text = token_text(name)
        answer = tenancy.VerifyTokenResponse(
            tenant_id=tenant,
            token_id=str(uuid4()),
            key_id=f"{name:0>12}",
            scopes=scopes,
            allowed_networks=networks,
            tenant_state=tenancy.TENANT_STATE_ACTIVE,
            limits=self.state.limits,
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

    def change_tenant(
        self, tenant: str, state: tenancy.TenantState.ValueType = tenancy.TENANT_STATE_ACTIVE, **limits: int
    ) -> None:
        """Give a tenant's tokens another state and other limits, and tell every watcher."""
        for answer in self.state.tokens.values():
            if answer.tenant_id == tenant:
                answer.tenant_state = state
                answer.limits.MergeFrom(tenancy.TenantLimits(**limits))
        for watcher in self.state.watchers:
            watcher.put_nowait(tenancy.WatchTokensResponse(tenant_id=tenant))

    def sever_watch(self, *, refuse_new: bool) -> None:
        """Cut the watch streams; others are refused if asked for."""
        self.state.faults.watch_refused = refuse_new
        for watcher in self.state.watchers:
            watcher.put_nowait(None)

    def add_group(self, members: int, name: str = "Everyone", tenant: str = TENANT) -> str:
        """Store a group of so many members and return its id."""
        document = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name}
        resource = new_resource(directory.RESOURCE_TYPE_GROUP, document)
        self.state.resources[tenant, resource.id] = resource
        self.state.members[resource.id] = [
            {"value": f"018f0000-0000-7000-8000-{number:012x}", "type": "User"} for number in range(members)
        ]
        return resource.id

    def calls(self, method: str) -> list[Seen]:
        """Return the calls of one method that arrived so far."""
        return [call for call in self.state.seen if call.method == method]


class _Tokens(TokenServiceServicer):
    def __init__(self, state: State) -> None:
        self._state = state

    async def VerifyToken(self, request: Any, context: Context) -> tenancy.VerifyTokenResponse:
        await self._state.enter("VerifyToken", request, context)
        cause, tenant = self._state.refusals.get(request.presented, ("unknown", "unknown"))
        if (answer := self._state.tokens.get(request.presented)) is not None:
            if Networks.parse(answer.allowed_networks).covers(request.address):
                return answer
            cause, tenant = "network", answer.tenant_id
        return await abort(
            context,
            grpc.StatusCode.UNAUTHENTICATED,
            "the bearer token is missing, malformed or not valid",
            "TOKEN_REFUSED",
            {"cause": cause, "tenant": tenant},
        )

    async def ReportTokenUse(self, request: Any, context: Context) -> tenancy.ReportTokenUseResponse:
        if self._state.faults.reports is not None:
            await abort(context, self._state.faults.reports.code, "secret internals", "")
        self._state.reports.append(request)
        return tenancy.ReportTokenUseResponse()

    async def WatchTokens(self, request: Any, context: Context) -> AsyncIterator[tenancy.WatchTokensResponse]:
        if ("authorization", f"Bearer {GATEWAY_TOKEN}") not in context.invocation_metadata():
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "bad service token", "SERVICE_TOKEN_REFUSED")
        if self._state.faults.watch_refused:
            await abort(context, grpc.StatusCode.UNAVAILABLE, "watch refused", "UNAVAILABLE")
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
                    await abort(context, grpc.StatusCode.UNAVAILABLE, "cut", "UNAVAILABLE")
                if not self._state.faults.watch_silent:
                    yield event
        finally:
            self._state.watchers.discard(events)

    async def _unused(self, request: Any, context: Context) -> NoReturn:
        await abort(context, grpc.StatusCode.UNIMPLEMENTED, "the gateway does not call this", "UNIMPLEMENTED")

    CreateToken = ListTokens = RotateToken = RevokeToken = _unused


class _Tenants(TenantServiceServicer):
    def __init__(self, state: State) -> None:
        self._state = state

    async def TakePermits(self, request: Any, context: Context) -> tenancy.TakePermitsResponse:
        """Give what is left; like reports, neither held by the gate nor failed by the other calls' fault."""
        if self._state.faults.permits is not None:
            await abort(context, self._state.faults.permits.code, "secret internals", "")
        self._state.permits_asked.append((request.tenant_id, request.want))
        left = self._state.permits.get(request.tenant_id, request.want)
        granted = min(left, request.want)
        if request.tenant_id in self._state.permits:
            self._state.permits[request.tenant_id] = left - granted
        answer = tenancy.TakePermitsResponse(granted=granted)
        answer.valid_for.FromMilliseconds(1_000)
        answer.retry_after.FromMilliseconds(0 if granted else 1_500)
        return answer

    async def _unused(self, request: Any, context: Context) -> NoReturn:
        await abort(context, grpc.StatusCode.UNIMPLEMENTED, "the gateway does not call this", "UNIMPLEMENTED")

    CreateTenant = GetTenant = ListTenants = UpdateTenant = _unused
    SuspendTenant = ResumeTenant = DeleteTenant = RestoreTenant = _unused
