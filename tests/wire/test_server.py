"""The gRPC server as such: credentials, roles, validation, health, reflection, request ids, deadlines."""

from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.api.policy import POLICY, Role
from control_plane.api.server import SERVICES
from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import ADMIN, GATEWAY, WORKER, Plane
from tests.wire.conftest import refused


async def test_every_rpc_without_a_token_is_unauthenticated(plane: Plane) -> None:
    for name, code in (await codes(plane, "")).items():
        assert code is grpc.StatusCode.UNAUTHENTICATED, name


@pytest.mark.parametrize(("role", "token"), [(Role.ADMIN, ADMIN), (Role.GATEWAY, GATEWAY), (Role.WORKER, WORKER)])
async def test_a_role_may_call_exactly_what_its_rows_say(plane: Plane, role: Role, token: str) -> None:
    for name, code in (await codes(plane, token)).items():
        denied = code is grpc.StatusCode.PERMISSION_DENIED
        assert denied == (role not in POLICY[name].roles), (name, code)


async def codes(plane: Plane, token: str) -> dict[str, grpc.StatusCode]:
    """Call every RPC with an empty message, which the rules refuse, and return what each answers."""
    answers = {}
    async with grpc.aio.insecure_channel(plane.address) as channel:
        for name in POLICY:
            call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
            call = channel.unary_stream(name, request_serializer=lambda _: b"", response_deserializer=lambda raw: raw)
            stream = call(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=5)
            try:
                await stream.read()
                answers[name] = grpc.StatusCode.OK
                stream.cancel()
            except grpc.aio.AioRpcError as err:
                answers[name] = err.code()
    return answers


async def test_an_unknown_method_is_unimplemented(plane: Plane) -> None:
    async with grpc.aio.insecure_channel(plane.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        call = channel.unary_unary("/muster.tenancy.v1.TenantService/DropEverything")
        assert (await refused(call(b"", timeout=5))).code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_broken_rule_names_the_field(plane: Plane) -> None:
    request = tenancy_pb2.CreateTargetRequest(
        tenant_id="nonsense", display_name="x", scim=tenancy_pb2.ScimTargetConfig(base_url="ftp://x")
    )
    refusal = await refused(plane.admin.targets.CreateTarget(request, metadata=plane.admin.metadata(), timeout=5))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.fields) == {"tenant_id", "scim.base_url"}
    assert "UUID" in refusal.fields["tenant_id"]


async def test_a_message_of_a_stream_is_validated_too(plane: Plane) -> None:
    bad = lease_pb2.StreamLeasesRequest(
        hello=lease_pb2.Hello(
            worker_id="w", session=b"short", protocol=1, kinds=[tenancy_pb2.TARGET_KIND_SCIM], slots=1
        )
    )
    refusal = await refused(plane.worker.leases.StreamLeases(iter([bad]), metadata=plane.worker.metadata(), timeout=5))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refusal.fields) == {"hello.session"}


async def test_health_is_told_per_service_without_a_token(plane: Plane) -> None:
    async with grpc.aio.insecure_channel(plane.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name


async def test_the_request_id_comes_back(plane: Plane) -> None:
    metadata = (*plane.admin.metadata(), ("x-request-id", "req-42"))
    call = plane.admin.tenants.ListTenants(tenancy_pb2.ListTenantsRequest(), metadata=metadata, timeout=5)
    await call
    assert ("x-request-id", "req-42") in tuple(await call.trailing_metadata())


async def test_a_hostile_request_id_is_replaced(plane: Plane) -> None:
    metadata = (*plane.admin.metadata(), ("x-request-id", 'x" injected'))
    call = plane.admin.tenants.ListTenants(tenancy_pb2.ListTenantsRequest(), metadata=metadata, timeout=5)
    await call
    answered = dict(await call.trailing_metadata())["x-request-id"]
    assert isinstance(answered, str)
    assert len(answered) == 32


async def test_the_callers_deadline_is_honoured(plane: Plane) -> None:
    tenant = await plane.tenant()
    request = tenancy_pb2.CreateTokenRequest(tenant_id=tenant)
    refusal = await refused(plane.admin.tokens.CreateToken(request, metadata=plane.admin.metadata(), timeout=0.0001))
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_deadline_gets_the_tables(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    method = "/muster.tenancy.v1.TenantService/ListTenants"
    monkeypatch.setitem(POLICY, method, replace(POLICY[method], deadline_s=0))
    call = plane.admin.tenants.ListTenants(tenancy_pb2.ListTenantsRequest(), metadata=plane.admin.metadata())
    refusal = await refused(call)
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_failures_are_counted_by_endpoint_and_type(plane: Plane) -> None:
    request = tenancy_pb2.GetTenantRequest(id="01890000-0000-7000-8000-000000000000")
    assert (
        await refused(plane.admin.tenants.GetTenant(request, metadata=plane.admin.metadata()))
    ).code is grpc.StatusCode.NOT_FOUND
    labels = {"endpoint": "TenantService/GetTenant", "error_type": "not_found"}
    assert plane.running.metrics.registry.get_sample_value("scim_admin_failure_total", labels) == 1


async def test_a_scim_error_travels_with_status_and_type(plane: Plane) -> None:
    request = directory_pb2.CreateResourceRequest(
        tenant_id=await plane.tenant(), type=directory_pb2.RESOURCE_TYPE_USER, document="{"
    )
    refusal = await refused(plane.gateway.directory.CreateResource(request, metadata=plane.gateway.metadata()))
    assert refusal.info.reason == "SCIM_ERROR"
    assert dict(refusal.info.metadata) == {"status": "400", "scim_type": "invalidSyntax"}


async def test_a_page_token_of_another_list_is_refused(plane: Plane) -> None:
    first, second = await plane.tenant("One"), await plane.tenant("Two")
    for label in ("a", "b"):
        request = tenancy_pb2.CreateTokenRequest(tenant_id=first, label=label)
        await plane.admin.tokens.CreateToken(request, metadata=plane.admin.metadata())
    page = await plane.admin.tokens.ListTokens(
        tenancy_pb2.ListTokensRequest(tenant_id=first, page_size=1), metadata=plane.admin.metadata()
    )
    assert page.next_page_token
    stolen = tenancy_pb2.ListTokensRequest(tenant_id=second, page_size=1, page_token=page.next_page_token)
    refusal = await refused(plane.admin.tokens.ListTokens(stolen, metadata=plane.admin.metadata()))
    assert set(refusal.fields) == {"page_token"}


async def test_nul_in_a_string_names_the_field(plane: Plane) -> None:
    call = plane.admin.tenants.CreateTenant(
        tenancy_pb2.CreateTenantRequest(display_name="a\0b"), metadata=plane.admin.metadata()
    )
    refusal = await refused(call)
    assert (refusal.code, refusal.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        {"display_name": "must not contain NUL"},
    )


@pytest.mark.parametrize("url", ["", "http://h:99999/", "http://[::1", "http://:80/"])
async def test_a_target_that_nobody_could_connect_to_is_refused(plane: Plane, url: str) -> None:
    config = tenancy_pb2.ScimTargetConfig(base_url=url)
    request = tenancy_pb2.CreateTargetRequest(tenant_id=await plane.tenant(), display_name="App", scim=config)
    refusal = await refused(plane.admin.targets.CreateTarget(request, metadata=plane.admin.metadata()))
    assert (refusal.code, set(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, {"scim.base_url"})
