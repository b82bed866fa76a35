"""An admin API that remembers in memory: real gRPC on a free port, no rules behind it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from protos.audit.v1 import audit_pb2, audit_pb2_grpc
from protos.directory.v1 import directory_pb2, directory_pb2_grpc
from protos.tenancy.v1 import tenancy_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2_grpc as services

ADMIN_TOKEN = "the-admin-token"
CREATED_S = 1_795_000_000


class FakeAdmin(
    services.TenantServiceServicer,
    services.TokenServiceServicer,
    services.TargetServiceServicer,
    directory_pb2_grpc.SchemaServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
):
    """All admin services; ``calls`` has each request in order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.tenants: list[pb.Tenant] = []
        self.tokens: list[pb.Token] = []
        self.targets: list[pb.Target] = []
        self.schemas: list[directory_pb2.Schema] = []
        self.events: list[audit_pb2.AuditEvent] = []
        self.target_tokens: list[str] = []

    def _enter(self, request: Any, context: Any) -> None:
        self.calls.append(request)
        if ("authorization", f"Bearer {ADMIN_TOKEN}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this needs the admin token")

    def CreateTenant(self, request: pb.CreateTenantRequest, context: Any) -> pb.CreateTenantResponse:
        self._enter(request, context)
        tenant = pb.Tenant(
            id=f"tenant-{len(self.tenants) + 1}",
            display_name=request.display_name,
            identity_provider=request.identity_provider,
        )
        tenant.create_time.FromSeconds(CREATED_S)
        self.tenants.append(tenant)
        return pb.CreateTenantResponse(tenant=tenant)

    def GetTenant(self, request: pb.GetTenantRequest, context: Any) -> pb.GetTenantResponse:
        self._enter(request, context)
        for tenant in self.tenants:
            if tenant.id == request.id:
                return pb.GetTenantResponse(tenant=tenant)
        context.abort(grpc.StatusCode.NOT_FOUND, f"tenant {request.id} not found")
        raise AssertionError

    def ListTenants(self, request: pb.ListTenantsRequest, context: Any) -> pb.ListTenantsResponse:
        """Two a page, whatever is asked for."""
        self._enter(request, context)
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < len(self.tenants) else ""
        return pb.ListTenantsResponse(tenants=self.tenants[start : start + 2], next_page_token=token)

    def UpdateTenant(self, request: pb.UpdateTenantRequest, context: Any) -> pb.UpdateTenantResponse:
        self._enter(request, context)
        tenant = pb.Tenant()
        tenant.CopyFrom(request.tenant)
        tenant.effective_compatibility.CopyFrom(pb.Compatibility(replace_creates=True, put_keeps_members=False))
        return pb.UpdateTenantResponse(tenant=tenant)

    def CreateSchema(
        self, request: directory_pb2.CreateSchemaRequest, context: Any
    ) -> directory_pb2.CreateSchemaResponse:
        self._enter(request, context)
        self.schemas.append(request.schema)
        return directory_pb2.CreateSchemaResponse(schema=request.schema)

    def GetSchema(self, request: directory_pb2.GetSchemaRequest, context: Any) -> directory_pb2.GetSchemaResponse:
        self._enter(request, context)
        for schema in self.schemas:
            if schema.id == request.id:
                return directory_pb2.GetSchemaResponse(schema=schema)
        context.abort(grpc.StatusCode.NOT_FOUND, f"schema {request.id} not found")
        raise AssertionError

    def ListSchemas(self, request: directory_pb2.ListSchemasRequest, context: Any) -> directory_pb2.ListSchemasResponse:
        self._enter(request, context)
        return directory_pb2.ListSchemasResponse(schemas=self.schemas)

    def UpdateSchema(
        self, request: directory_pb2.UpdateSchemaRequest, context: Any
    ) -> directory_pb2.UpdateSchemaResponse:
        self._enter(request, context)
        updated = directory_pb2.Schema(resource_type=directory_pb2.RESOURCE_TYPE_USER)
        updated.MergeFrom(request.schema)
        return directory_pb2.UpdateSchemaResponse(schema=updated)

    def DeleteSchema(
        self, request: directory_pb2.DeleteSchemaRequest, context: Any
    ) -> directory_pb2.DeleteSchemaResponse:
        self._enter(request, context)
        return directory_pb2.DeleteSchemaResponse()

    def GetDiscovery(
        self, request: directory_pb2.GetDiscoveryRequest, context: Any
    ) -> directory_pb2.GetDiscoveryResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "gateways call this")
        raise AssertionError

    def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        self._enter(request, context)
        number = len(self.tokens) + 1
        token = pb.Token(
            id=f"token-{number}",
            tenant_id=request.tenant_id,
            key_id=f"key{number}",
            label=request.label,
            scopes=request.scopes or [pb.SCOPE_SCIM_READ, pb.SCOPE_SCIM_WRITE],
        )
        self.tokens.append(token)
        return pb.CreateTokenResponse(token=token, secret=f"secret-{number}")

    def ListTokens(self, request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        self._enter(request, context)
        return pb.ListTokensResponse(tokens=[each for each in self.tokens if each.tenant_id == request.tenant_id])

    def RotateToken(self, request: pb.RotateTokenRequest, context: Any) -> pb.RotateTokenResponse:
        self._enter(request, context)
        return pb.RotateTokenResponse(token=pb.Token(id="token-new"), secret="secret-new")

    def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        self._enter(request, context)
        token = next(each for each in self.tokens if each.id == request.id)
        token.revoke_time.FromSeconds(CREATED_S)
        return pb.RevokeTokenResponse(token=token)

    def VerifyToken(self, request: pb.VerifyTokenRequest, context: Any) -> pb.VerifyTokenResponse:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "gateways call this")
        raise AssertionError

    def WatchTokens(self, request: pb.WatchTokensRequest, context: Any) -> Iterator[pb.WatchTokensResponse]:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "gateways call this")
        raise AssertionError

    def CreateTarget(self, request: pb.CreateTargetRequest, context: Any) -> pb.CreateTargetResponse:
        self._enter(request, context)
        target = pb.Target(
            id=f"target-{len(self.targets) + 1}",
            tenant_id=request.tenant_id,
            display_name=request.display_name,
            kind=pb.TARGET_KIND_SCIM,
            state=pb.TARGET_STATE_PAUSED,
            scim=pb.ScimTargetConfig(base_url=request.scim.base_url),
        )
        self.target_tokens.append(request.scim.bearer_token)
        self.targets.append(target)
        return pb.CreateTargetResponse(target=target)

    def ListTargets(self, request: pb.ListTargetsRequest, context: Any) -> pb.ListTargetsResponse:
        self._enter(request, context)
        return pb.ListTargetsResponse(targets=[each for each in self.targets if each.tenant_id == request.tenant_id])

    def GetTarget(self, request: pb.GetTargetRequest, context: Any) -> pb.GetTargetResponse:
        self._enter(request, context)
        return pb.GetTargetResponse(target=self._target(request.id))

    def UpdateTarget(self, request: pb.UpdateTargetRequest, context: Any) -> pb.UpdateTargetResponse:
        self._enter(request, context)
        target = self._target(request.id)
        if "scim.base_url" in request.update_mask.paths:
            target.scim.base_url = request.scim.base_url
        return pb.UpdateTargetResponse(target=target)

    def ActivateTarget(self, request: pb.ActivateTargetRequest, context: Any) -> pb.ActivateTargetResponse:
        self._enter(request, context)
        self._target(request.id).state = pb.TARGET_STATE_ACTIVE
        return pb.ActivateTargetResponse(target=self._target(request.id))

    def PauseTarget(self, request: pb.PauseTargetRequest, context: Any) -> pb.PauseTargetResponse:
        self._enter(request, context)
        self._target(request.id).state = pb.TARGET_STATE_PAUSED
        return pb.PauseTargetResponse(target=self._target(request.id))

    def GetTargetStatus(self, request: pb.GetTargetStatusRequest, context: Any) -> pb.GetTargetStatusResponse:
        self._enter(request, context)
        return pb.GetTargetStatusResponse(total=12, pending=3, failing=1, last_error="it said no")

    def ListAuditEvents(
        self, request: audit_pb2.ListAuditEventsRequest, context: Any
    ) -> audit_pb2.ListAuditEventsResponse:
        self._enter(request, context)
        return audit_pb2.ListAuditEventsResponse(events=self.events)

    def _target(self, target_id: str) -> pb.Target:
        return next(each for each in self.targets if each.id == target_id)


@contextmanager
def serving(fake: FakeAdmin) -> Iterator[str]:
    """Serve ``fake`` and yield its address."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    services.add_TenantServiceServicer_to_server(fake, server)
    services.add_TokenServiceServicer_to_server(fake, server)
    services.add_TargetServiceServicer_to_server(fake, server)
    directory_pb2_grpc.add_SchemaServiceServicer_to_server(fake, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait(5)
