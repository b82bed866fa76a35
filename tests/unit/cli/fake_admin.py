"""An admin API that remembers in memory: real gRPC on a free port, no rules behind it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf import message_factory

from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from protos.identity.v1 import identity_pb2
from protos.keys.v1 import keys_pb2
from protos.tenancy.v1 import tenancy_pb2 as pb

FILES = (audit_pb2, directory_pb2, identity_pb2, keys_pb2, pb)

ADMIN_TOKEN = "the-admin-token"
CREATED_S = 1_795_000_000


class FakeAdmin:
    """All admin services; ``calls`` has each request in order.

    A method serves the RPC of its name; an RPC without a method here is unimplemented.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.tenants: list[pb.Tenant] = []
        self.tokens: list[pb.Token] = []
        self.targets: list[pb.Target] = []
        self.schemas: list[directory_pb2.Schema] = []
        self.events: list[audit_pb2.AuditEvent] = []
        self.problems: list[audit_pb2.Problem] = []
        self.target_tokens: list[str] = []
        self.operators: list[identity_pb2.Operator] = []
        self.api_keys: list[identity_pb2.ApiKey] = []

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
            state=pb.TENANT_STATE_ACTIVE,
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

    def SuspendTenant(self, request: pb.SuspendTenantRequest, context: Any) -> pb.SuspendTenantResponse:
        self._enter(request, context)
        tenant = pb.Tenant(id=request.id, state=pb.TENANT_STATE_SUSPENDED, suspend_reason=request.reason)
        return pb.SuspendTenantResponse(tenant=tenant)

    def ResumeTenant(self, request: pb.ResumeTenantRequest, context: Any) -> pb.ResumeTenantResponse:
        self._enter(request, context)
        return pb.ResumeTenantResponse(tenant=pb.Tenant(id=request.id, state=pb.TENANT_STATE_ACTIVE))

    def DeleteTenant(self, request: pb.DeleteTenantRequest, context: Any) -> pb.DeleteTenantResponse:
        self._enter(request, context)
        tenant = pb.Tenant(id=request.id, state=pb.TENANT_STATE_DELETED)
        tenant.purge_time.FromSeconds(CREATED_S)
        return pb.DeleteTenantResponse(tenant=tenant)

    def RestoreTenant(self, request: pb.RestoreTenantRequest, context: Any) -> pb.RestoreTenantResponse:
        self._enter(request, context)
        return pb.RestoreTenantResponse(tenant=pb.Tenant(id=request.id, state=pb.TENANT_STATE_SUSPENDED))

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
        old = next((each for each in self.tokens if each.id == request.id), pb.Token())
        return pb.RotateTokenResponse(token=pb.Token(id="token-new"), secret="secret-new", replaced=old)

    def RevokeToken(self, request: pb.RevokeTokenRequest, context: Any) -> pb.RevokeTokenResponse:
        self._enter(request, context)
        token = next(each for each in self.tokens if each.id == request.id)
        token.revoke_time.FromSeconds(CREATED_S)
        return pb.RevokeTokenResponse(token=token)

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

    def EraseSubject(self, request: audit_pb2.EraseSubjectRequest, context: Any) -> audit_pb2.EraseSubjectResponse:
        self._enter(request, context)
        return audit_pb2.EraseSubjectResponse(events=3)

    def TailAuditEvents(
        self, request: audit_pb2.TailAuditEventsRequest, context: Any
    ) -> Iterator[audit_pb2.TailAuditEventsResponse]:
        """Break off after each event, as a control plane that stops; when all were told, refuse."""
        self._enter(request, context)
        behind = [event for event in self.events if event.seq > request.after_seq]
        if not behind:
            context.abort(grpc.StatusCode.NOT_FOUND, "that was all")
        yield audit_pb2.TailAuditEventsResponse(events=behind[:1], seq=behind[0].seq)
        context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    def ExportAuditEvents(
        self, request: audit_pb2.ExportAuditEventsRequest, context: Any
    ) -> Iterator[audit_pb2.ExportAuditEventsResponse]:
        self._enter(request, context)
        yield audit_pb2.ExportAuditEventsResponse(data=b"first\n", events=1)
        if request.tenant_id == "broken":
            context.abort(grpc.StatusCode.UNAVAILABLE, "the database cannot be reached just now")
        yield audit_pb2.ExportAuditEventsResponse(data=b"second\n", events=2)

    def VerifyAuditTrail(
        self, request: audit_pb2.VerifyAuditTrailRequest, context: Any
    ) -> Iterator[audit_pb2.VerifyAuditTrailResponse]:
        self._enter(request, context)
        yield audit_pb2.VerifyAuditTrailResponse(verified=2, total=4)
        if request.tenant_id == "silent":
            return
        yield audit_pb2.VerifyAuditTrailResponse(
            verified=4, total=4, is_done=True, last_seq=6, problems=self.problems,
            checkpoint=audit_pb2.Checkpoint(number=7),
        )  # fmt: skip

    def CreateCheckpoint(
        self, request: audit_pb2.CreateCheckpointRequest, context: Any
    ) -> audit_pb2.CreateCheckpointResponse:
        self._enter(request, context)
        made = audit_pb2.Checkpoint(number=7, heads=3, key_id="k1")
        made.time.FromSeconds(CREATED_S)
        return audit_pb2.CreateCheckpointResponse(checkpoint=made)

    def GetCheckpointKey(
        self, request: audit_pb2.GetCheckpointKeyRequest, context: Any
    ) -> audit_pb2.GetCheckpointKeyResponse:
        self._enter(request, context)
        return audit_pb2.GetCheckpointKeyResponse(key_id="k1", public_key=b"p" * 32)

    def CreateOperator(
        self, request: identity_pb2.CreateOperatorRequest, context: Any
    ) -> identity_pb2.CreateOperatorResponse:
        self._enter(request, context)
        made = identity_pb2.Operator(
            id=f"operator-{len(self.operators) + 1}",
            email=request.email,
            display_name=request.display_name,
            role=request.role,
        )
        self.operators.append(made)
        return identity_pb2.CreateOperatorResponse(operator=made)

    def GetOperator(self, request: identity_pb2.GetOperatorRequest, context: Any) -> identity_pb2.GetOperatorResponse:
        self._enter(request, context)
        return identity_pb2.GetOperatorResponse(operator=self._operator(request.id))

    def ListOperators(
        self, request: identity_pb2.ListOperatorsRequest, context: Any
    ) -> identity_pb2.ListOperatorsResponse:
        self._enter(request, context)
        return identity_pb2.ListOperatorsResponse(operators=self.operators)

    def UpdateOperator(
        self, request: identity_pb2.UpdateOperatorRequest, context: Any
    ) -> identity_pb2.UpdateOperatorResponse:
        self._enter(request, context)
        found = self._operator(request.operator.id)
        found.MergeFrom(request.operator)
        if "disabled" in request.update_mask.paths:
            found.disabled = request.operator.disabled
            found.disable_time.FromSeconds(CREATED_S)
        return identity_pb2.UpdateOperatorResponse(operator=found)

    def DeleteOperator(
        self, request: identity_pb2.DeleteOperatorRequest, context: Any
    ) -> identity_pb2.DeleteOperatorResponse:
        self._enter(request, context)
        self.operators.remove(self._operator(request.id))
        return identity_pb2.DeleteOperatorResponse()

    def GetCaller(self, request: identity_pb2.GetCallerRequest, context: Any) -> identity_pb2.GetCallerResponse:
        self._enter(request, context)
        return identity_pb2.GetCallerResponse(role="owner", actor_id="admin", methods=["one", "two"])

    def CreateApiKey(
        self, request: identity_pb2.CreateApiKeyRequest, context: Any
    ) -> identity_pb2.CreateApiKeyResponse:
        self._enter(request, context)
        number = len(self.api_keys) + 1
        made = identity_pb2.ApiKey(id=f"key-{number}", key_id=f"KEY{number}", label=request.label)
        if request.HasField("service"):
            made.service = request.service
        else:
            made.operator_id = request.operator_id
        self.api_keys.append(made)
        return identity_pb2.CreateApiKeyResponse(api_key=made, secret=f"key-secret-{number}")

    def ListApiKeys(self, request: identity_pb2.ListApiKeysRequest, context: Any) -> identity_pb2.ListApiKeysResponse:
        self._enter(request, context)
        return identity_pb2.ListApiKeysResponse(api_keys=self.api_keys)

    def RevokeApiKey(
        self, request: identity_pb2.RevokeApiKeyRequest, context: Any
    ) -> identity_pb2.RevokeApiKeyResponse:
        self._enter(request, context)
        key = next(each for each in self.api_keys if each.id == request.id)
        key.revoke_time.FromSeconds(CREATED_S)
        return identity_pb2.RevokeApiKeyResponse(api_key=key)

    def ListScopes(self, request: identity_pb2.ListScopesRequest, context: Any) -> identity_pb2.ListScopesResponse:
        self._enter(request, context)
        return identity_pb2.ListScopesResponse(scopes=["audit:read", "tokens:read"])

    def _operator(self, operator_id: str) -> identity_pb2.Operator:
        return next(each for each in self.operators if each.id == operator_id)

    def _target(self, target_id: str) -> pb.Target:
        return next(each for each in self.targets if each.id == target_id)


@contextmanager
def serving(fake: FakeAdmin) -> Iterator[str]:
    """Serve ``fake`` and yield its address."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            server.add_generic_rpc_handlers((_handlers(fake, service),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait(5)


def _handlers(fake: FakeAdmin, service: Any) -> Any:
    """Return handlers for those RPCs of a service that the fake has a method for."""
    found: dict[str, Any] = {}
    for rpc in service.methods:
        behaviour = getattr(fake, rpc.name, None)
        if behaviour is not None:
            make = grpc.unary_stream_rpc_method_handler if rpc.server_streaming else grpc.unary_unary_rpc_method_handler
            found[rpc.name] = make(
                behaviour,
                request_deserializer=message_factory.GetMessageClass(rpc.input_type).FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
    return grpc.method_handlers_generic_handler(service.full_name, found)
