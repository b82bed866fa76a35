"""Every RPC as every identity: what is allowed is what the table here says, and nothing else.

The table stands on its own: a row of the policy that changes has to change here too.
"""

import asyncio
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from control_plane.client.control_plane import ControlPlane
from protos.identity.v1 import identity_pb2
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane
from tests.rules.wire_files import rpcs
from tests.wire.conftest import Refusal, refused
from tests.wire.identities import AUDITOR, OPERATOR, OWNER, caller, change, client, key, operator, person, service

# Of docs/hardening.md.
pytestmark = pytest.mark.row(23)

# O owner, P operator, A auditor, G gateway, W worker; and the scope that a service needs.
EXPECTED = """
tenancy.v1.TenantService/CreateTenant          OP  tenants:write
tenancy.v1.TenantService/GetTenant             OPA tenants:read
tenancy.v1.TenantService/ListTenants           OPA tenants:read
tenancy.v1.TenantService/UpdateTenant          OP  tenants:write
tenancy.v1.TenantService/SuspendTenant         OP  tenants:write
tenancy.v1.TenantService/ResumeTenant          OP  tenants:write
tenancy.v1.TenantService/DeleteTenant          OP  tenants:write
tenancy.v1.TenantService/RestoreTenant         OP  tenants:write
tenancy.v1.TenantService/TakePermits           G
tenancy.v1.TokenService/CreateToken            OP  tokens:write
tenancy.v1.TokenService/ListTokens             OPA tokens:read
tenancy.v1.TokenService/RotateToken            OP  tokens:write
tenancy.v1.TokenService/RevokeToken            OP  tokens:write
tenancy.v1.TokenService/VerifyToken            G
tenancy.v1.TokenService/WatchTokens            G
tenancy.v1.TokenService/ReportTokenUse         G
tenancy.v1.TargetService/CreateTarget          OP  targets:write
tenancy.v1.TargetService/GetTarget             OPA targets:read
tenancy.v1.TargetService/ListTargets           OPA targets:read
tenancy.v1.TargetService/UpdateTarget          OP  targets:write
tenancy.v1.TargetService/ActivateTarget        OP  targets:write
tenancy.v1.TargetService/PauseTarget           OP  targets:write
tenancy.v1.TargetService/GetTargetStatus       OPA targets:read
directory.v1.DirectoryService/CreateResource   OPG directory:write
directory.v1.DirectoryService/GetResource      OPAG directory:read
directory.v1.DirectoryService/ListResources    OPAG directory:read
directory.v1.DirectoryService/ReplaceResource  OPG directory:write
directory.v1.DirectoryService/PatchResource    OPG directory:write
directory.v1.DirectoryService/DeleteResource   OPG directory:write
directory.v1.DirectoryService/BulkWrite        OPG directory:write
directory.v1.DirectoryService/StreamMembers    OPAG directory:read
directory.v1.SchemaService/CreateSchema        OP  schemas:write
directory.v1.SchemaService/GetSchema           OPA schemas:read
directory.v1.SchemaService/ListSchemas         OPA schemas:read
directory.v1.SchemaService/UpdateSchema        OP  schemas:write
directory.v1.SchemaService/DeleteSchema        OP  schemas:write
directory.v1.SchemaService/GetDiscovery        OPAG directory:read
audit.v1.AuditService/ListAuditEvents          OPA audit:read
audit.v1.AuditService/TailAuditEvents          OPA audit:read
audit.v1.AuditService/ExportAuditEvents        OPA audit:read
audit.v1.AuditService/VerifyAuditTrail         OPA audit:read
audit.v1.AuditService/CreateCheckpoint         O
audit.v1.AuditService/GetCheckpointKey         OPA audit:read
audit.v1.AuditService/EraseSubject             O
identity.v1.OperatorService/CreateOperator     O
identity.v1.OperatorService/GetOperator        OPA
identity.v1.OperatorService/ListOperators      OPA
identity.v1.OperatorService/UpdateOperator     O
identity.v1.OperatorService/DeleteOperator     O
identity.v1.OperatorService/GetCaller          OPA *
identity.v1.ApiKeyService/CreateApiKey         OPA
identity.v1.ApiKeyService/ListApiKeys          OPA
identity.v1.ApiKeyService/RevokeApiKey         OPA
identity.v1.ApiKeyService/ListScopes           OPA
keys.v1.KeyService/ListKeyEncryptionKeys       OPA
keys.v1.KeyService/ListDataKeys                OPA
keys.v1.KeyService/RotateDataKey               O
keys.v1.KeyService/RewrapDataKeys              O
lease.v1.LeaseService/StreamLeases             W
lease.v1.LeaseService/StreamLeaseMembers       W
"""
TABLE = {(row := [*line.split(), ""])[0]: (row[1], row[2]) for line in EXPECTED.strip().splitlines()}
SCOPES = sorted({scope for _, scope in TABLE.values()} - {"", "*"})
# Where a request names its tenant; what is not listed names none.
TENANT_FIELDS = ("tenant_id", "tenant.id", "schema.tenant_id")
ALLOWED, DENIED, NOBODY = "allowed", grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
ANYWHERE = "01890000-0000-7000-8000-000000000000"


RPCS = {name.removeprefix("/muster."): method for name, method in rpcs().items()}


def test_every_rpc_has_its_row_here() -> None:
    assert RPCS.keys() == TABLE.keys()


async def answer(who: ControlPlane, rpc: str, body: bytes = b"") -> object:
    """Call an RPC with a message, empty unless said otherwise, and return whether that is allowed, or the code."""
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
    method = who.channel.unary_stream(f"/muster.{rpc}")
    stream = method(body, metadata=who.metadata(), timeout=10)
    try:
        await stream.read()
    except grpc.aio.AioRpcError as err:
        # A SCIM error may have the same code for another reason.
        return err.code() if Refusal(err).info.reason in {"PERMISSION_DENIED", "UNAUTHENTICATED"} else ALLOWED
    stream.cancel()
    return ALLOWED


async def answers(who: ControlPlane) -> dict[str, object]:
    """Call every RPC with an empty message, which the rules of most refuse."""
    return dict(zip(RPCS, await asyncio.gather(*(answer(who, rpc) for rpc in RPCS)), strict=True))


def expected(letter: str = "", scope: str = "") -> dict[str, object]:
    return {
        rpc: ALLOWED if (letter and letter in letters) or (scope and needed in (scope, "*")) else DENIED
        for rpc, (letters, needed) in TABLE.items()
    }


async def test_every_identity_may_call_exactly_what_the_table_says(plane: Plane) -> None:
    assert await answers(plane.admin) == expected("O")
    assert await answers(plane.gateway) == expected("G")
    assert await answers(plane.worker) == expected("W")
    for role, letter in ((OWNER, "O"), (OPERATOR, "P"), (AUDITOR, "A")):
        _, they = await person(plane, role)
        assert await answers(they) == expected(letter), letter
    for scope in SCOPES:
        assert await answers(await service(plane, scope)) == expected(scope=scope), scope


async def test_who_proves_nothing_may_call_nothing(plane: Plane) -> None:
    revoked = await key(plane, service="billing", scopes=SCOPES)
    request = identity_pb2.RevokeApiKeyRequest(id=revoked.api_key.id)
    await plane.admin.api_keys.RevokeApiKey(request, metadata=plane.admin.metadata())
    made, disabled = await person(plane, OWNER)
    await change(plane, made.id, disabled=True)
    for who in (client(plane, ""), client(plane, "x" * 40), client(plane, revoked.secret), disabled):
        assert set((await answers(who)).values()) == {NOBODY}


def for_tenant(rpc: str, tenant: str) -> bytes | None:
    """Return a request that names ``tenant``; None if requests of this kind name none."""
    message: Any = GetMessageClass(RPCS[rpc].input_type)()
    own = ("id",) if rpc.startswith("tenancy.v1.TenantService") else ()
    for path in (*TENANT_FIELDS, *own):
        *parents, field = path.split(".")
        holder = message
        for parent in parents:
            holder = getattr(holder, parent, None)
        if holder is not None and field in holder.DESCRIPTOR.fields_by_name:
            setattr(holder, field, tenant)
            return bytes(message.SerializeToString())
    return None


async def test_a_service_for_some_tenants_may_name_these_and_no_others(plane: Plane) -> None:
    mine, theirs = await plane.tenant("Mine"), await plane.tenant("Theirs")
    them = await service(plane, *SCOPES, tenants=(mine,))
    for rpc, (_, scope) in TABLE.items():
        body = for_tenant(rpc, mine)
        if scope == "*":
            assert await answer(them, rpc) is ALLOWED, rpc
        elif not scope or body is None:
            assert await answer(them, rpc) is DENIED, rpc
        else:
            assert await answer(them, rpc, body) is ALLOWED, rpc
            for other in (theirs, ANYWHERE, "", "nonsense"):
                assert await answer(them, rpc, for_tenant(rpc, other) or b"") is DENIED, (rpc, other)


async def test_what_a_caller_may_call_is_what_it_is_told(plane: Plane) -> None:
    for who, letter, scope in ((plane.admin, "O", ""), (await service(plane, "audit:read"), "", "audit:read")):
        told = {one.removeprefix("muster.") for one in (await caller(who)).methods}
        assert told == {rpc for rpc, may in expected(letter, scope).items() if may is ALLOWED}


async def test_nobody_learns_which_methods_and_messages_there_are(plane: Plane) -> None:
    """Neither from the code nor from the text, whatever is sent."""
    nobody, told = client(plane, ""), set()
    for rpc in ("tenancy.v1.TenantService/ListTenants", "tenancy.v1.TenantService/DropEverything", "no.such/Thing"):
        for body in (b"", b"\xff\xff"):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = nobody.channel.unary_unary(f"/muster.{rpc}")
            refusal = await refused(call(body, timeout=5))
            told.add((refusal.code, refusal.text))
    assert len(told) == 1
    assert told.pop()[0] is NOBODY


async def test_who_may_call_learns_that_a_method_or_message_is_none(plane: Plane) -> None:
    for rpc, code in (
        ("tenancy.v1.TenantService/DropEverything", grpc.StatusCode.UNIMPLEMENTED),
        ("tenancy.v1.TenantService/ListTenants", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = plane.admin.channel.unary_unary(f"/muster.{rpc}")
        assert (await refused(call(b"\xff\xff", metadata=plane.admin.metadata(), timeout=5))).code is code
    registry = plane.running.metrics.registry
    labels = {"grpc_service": "unknown", "grpc_method": "unknown", "grpc_code": "UNIMPLEMENTED"}
    assert registry.get_sample_value("grpc_server_handled_total", labels) == 1


async def test_a_credential_in_another_form_or_sent_twice_is_none(plane: Plane) -> None:
    right = dict(plane.admin.metadata())["authorization"]
    for sent in (("Basic eDp5",), ("Bearer",), (right.removeprefix("Bearer "),), (right, right)):
        metadata = tuple(("authorization", one) for one in sent)
        call = plane.admin.tenants.ListTenants(tenancy_pb2.ListTenantsRequest(), metadata=metadata, timeout=5)
        assert (await refused(call)).code is NOBODY, sent


async def test_only_gateways_are_believed_when_they_say_who_acts(plane: Plane) -> None:
    _, they = await person(plane, OPERATOR)
    acting = await operator(plane, AUDITOR)
    for who, believed in ((plane.gateway, True), (they, False)):
        trace = f"00-{UUID(acting.id).hex}-{'1' * 16}-01"
        said = (("muster-actor-id", "key123"), ("muster-actor-address", "192.0.2.7"), ("muster-actor-agent", "Okta"))
        metadata = (*who.metadata(), *said, ("traceparent", trace))
        tenant = await plane.tenant()
        await make_user(who, tenant, metadata)
        event = await first_event(plane, tenant, "user.create")
        assert (event.actor_id == "key123", event.actor_address == "192.0.2.7", event.actor_agent == "Okta") == (
            (believed,) * 3
        )
        assert event.trace_id == UUID(acting.id).hex


async def make_user(who: ControlPlane, tenant: str, metadata: tuple[tuple[str, str], ...]) -> None:
    from protos.directory.v1 import directory_pb2

    document = '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"ada"}'
    request = directory_pb2.CreateResourceRequest(
        tenant_id=tenant, type=directory_pb2.RESOURCE_TYPE_USER, document=document
    )
    await who.directory.CreateResource(request, metadata=metadata)


async def first_event(plane: Plane, tenant: str, action: str) -> Any:
    from protos.audit.v1 import audit_pb2

    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action=action)
    return (await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())).events[0]
