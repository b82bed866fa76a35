"""The gRPC server as such: credentials, roles, validation, health, reflection, request ids, deadlines."""

from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from control_plane.api.interceptors import rates
from control_plane.api.policy import POLICY, RateClass
from control_plane.api.server import SERVICES
from control_plane.client.control_plane import ControlPlane
from control_plane.runtime.buckets import Allowance
from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.identities import service

NOWHERE = "01890000-0000-7000-8000-000000000000"
A_READ = directory_pb2.GetResourceRequest(tenant_id=NOWHERE, type=directory_pb2.RESOURCE_TYPE_USER, id=NOWHERE)


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


async def test_who_calls_too_often_is_told_when_to_come_back(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """But neither another caller, nor another class of calls, nor a gateway."""
    few = dict.fromkeys(RateClass, Allowance(burst=3, permits=1, per_s=60))
    monkeypatch.setattr(rates, "ALLOWANCES", few)

    async def tenants(who: ControlPlane) -> None:
        await who.tenants.ListTenants(tenancy_pb2.ListTenantsRequest(), metadata=who.metadata())

    other = await service(plane, "tenants:read")
    for _ in range(2):
        await tenants(plane.admin)
    refusal = await refused(tenants(plane.admin))
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert 50 < (refusal.retry_after_s or 0) <= 61
    await tenants(other)
    for who, calls in ((plane.admin, 1), (plane.gateway, 5)):
        for _ in range(calls):
            call = who.directory.GetResource(A_READ, metadata=who.metadata())
            assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND


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


async def services(address: str) -> list[str]:
    """Return the names that reflection lists."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5, wait_for_ready=True
        )
        answer = await anext(aiter(call))
        return [one.name for one in answer.list_services_response.service]


async def test_reflection_has_a_port_of_its_own_if_one_is_given(database: Database, queue_url: str) -> None:
    async with running_plane(settings(database, queue_url, control_plane_admin_listen="127.0.0.1:0")) as plane:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await services(plane.address)
        assert refusal.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.PERMISSION_DENIED)
        assert set(SERVICES) <= set(await services(f"127.0.0.1:{plane.running.admin_port}"))
        await plane.tenant()


async def test_without_one_reflection_is_with_the_services(plane: Plane) -> None:
    assert set(SERVICES) <= set(await services(plane.address))
