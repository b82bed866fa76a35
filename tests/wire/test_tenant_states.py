"""A tenant's life: limits of its own, suspended and resumed, deleted and restored; each change in the trail."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from control_plane.domain.tenants import LIMITS, Limits, TenantState
from protos.directory.v1 import directory_pb2
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused
from tests.wire.test_directory import USER, Directory
from tests.wire.test_tenants import create, events, get, update

FAILED = grpc.StatusCode.FAILED_PRECONDITION


async def suspend(plane: Plane, tenant: str, reason: str = "unpaid") -> pb.Tenant:
    request = pb.SuspendTenantRequest(id=tenant, reason=reason)
    return (await plane.admin.tenants.SuspendTenant(request, metadata=plane.admin.metadata())).tenant


async def resume(plane: Plane, tenant: str) -> pb.Tenant:
    request = pb.ResumeTenantRequest(id=tenant)
    return (await plane.admin.tenants.ResumeTenant(request, metadata=plane.admin.metadata())).tenant


async def delete(plane: Plane, tenant: str, name: str = "Acme", grace: timedelta | None = None) -> pb.Tenant:
    request = pb.DeleteTenantRequest(id=tenant, confirm_display_name=name)
    if grace is not None:
        request.grace.FromTimedelta(grace)
    return (await plane.admin.tenants.DeleteTenant(request, metadata=plane.admin.metadata())).tenant


async def restore(plane: Plane, tenant: str) -> pb.Tenant:
    request = pb.RestoreTenantRequest(id=tenant)
    return (await plane.admin.tenants.RestoreTenant(request, metadata=plane.admin.metadata())).tenant


async def listed(plane: Plane, *, show_deleted: bool = False) -> list[str]:
    request = pb.ListTenantsRequest(show_deleted=show_deleted)
    answer = await plane.admin.tenants.ListTenants(request, metadata=plane.admin.metadata())
    return [one.id for one in answer.tenants]


def test_the_wire_has_every_limit_and_every_state() -> None:
    assert tuple(pb.TenantLimits.DESCRIPTOR.fields_by_name) == LIMITS
    on_the_wire = {name.removeprefix("TENANT_STATE_"): number for name, number in pb.TenantState.items()}
    assert on_the_wire == {"UNSPECIFIED": 0, **{each.name: each.value for each in TenantState}}


async def test_a_new_tenant_follows_the_installation(plane: Plane) -> None:
    made = await create(plane)
    assert (made.state, made.audit_retention.ToTimedelta()) == (pb.TENANT_STATE_ACTIVE, timedelta(days=400))
    assert not made.HasField("suspend_time")
    assert not made.limits.ListFields()
    defaults = Limits()
    assert made.effective_limits == pb.TenantLimits(**{name: getattr(defaults, name) for name in LIMITS})


async def test_a_tenant_begins_with_limits_of_its_own(plane: Plane) -> None:
    own = pb.TenantLimits(max_users=500, burst=7)
    made = await create(plane, limits=own)
    assert made.limits == own
    assert (made.effective_limits.max_users, made.effective_limits.burst) == (500, 7)
    assert made.effective_limits.max_active_tokens == 2
    assert await get(plane, made.id) == made
    assert (await events(plane, made.id, "tenant.create"))[0]["limits"] == {"max_users": 500, "burst": 7}


async def test_limits_are_set_and_cleared_by_their_paths(plane: Plane) -> None:
    made = await create(plane, limits=pb.TenantLimits(max_users=500, burst=7))
    wanted = pb.Tenant(id=made.id, limits=pb.TenantLimits(burst=9, max_users=1))
    assert (await update(plane, wanted, "limits.burst")).limits == pb.TenantLimits(max_users=500, burst=9)
    assert (await update(plane, pb.Tenant(id=made.id), "limits.max_users")).limits == pb.TenantLimits(burst=9)
    assert not (await update(plane, pb.Tenant(id=made.id), "limits")).limits.ListFields()
    changed = [one["changed"] for one in await events(plane, made.id, "tenant.update")]
    assert changed == [["limits.burst"], ["limits.max_users"], ["limits.burst"]]


async def test_the_retention_of_the_trail_is_whole_days(plane: Plane) -> None:
    made = await create(plane)
    wanted = pb.Tenant(id=made.id)
    wanted.audit_retention.FromTimedelta(timedelta(days=30))
    assert (await update(plane, wanted, "audit_retention")).audit_retention.ToTimedelta() == timedelta(days=30)
    assert (await events(plane, made.id, "tenant.update"))[0]["changed"] == ["audit_retention"]
    wanted.audit_retention.FromTimedelta(timedelta(days=30, seconds=1))
    assert list((await refused(update(plane, wanted, "audit_retention"))).fields) == ["tenant.audit_retention"]
    again = await update(plane, pb.Tenant(id=made.id), "audit_retention")
    assert again.audit_retention.ToTimedelta() == timedelta(days=400)


async def test_suspending_and_resuming_twice_is_no_error_and_no_news(plane: Plane) -> None:
    made = await create(plane)
    first = await suspend(plane, made.id)
    assert (first.state, first.suspend_reason) == (pb.TENANT_STATE_SUSPENDED, "unpaid")
    assert first.HasField("suspend_time")
    assert await suspend(plane, made.id, "another reason") == first
    assert await resume(plane, made.id) == made
    assert await resume(plane, made.id) == made
    (said,) = await events(plane, made.id, "tenant.suspend")
    assert (said["suspend_reason"], said["changed"]) == ("unpaid", ["state"])
    assert len(await events(plane, made.id, "tenant.resume")) == 1


async def test_a_suspended_tenant_is_forbidden_in_scim_form(plane: Plane) -> None:
    directory = Directory(plane, await plane.tenant())
    ada = await directory.create(USER, userName="ada")
    await suspend(plane, directory.tenant)
    bulk = directory_pb2.BulkWriteRequest(tenant_id=directory.tenant, document='{"Operations": []}')
    calls = (
        directory.create(USER, userName="bob"),
        directory.get(ada),
        directory.find(USER),
        plane.gateway.directory.BulkWrite(bulk, metadata=plane.gateway.metadata()),
    )
    for call in calls:
        refusal = await refused(call)
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
        assert refusal.info.metadata["status"] == "403"
        assert refusal.text == "this tenant is suspended"
    await resume(plane, directory.tenant)
    assert (await directory.find(USER))[0] == 1


async def test_a_deletion_needs_the_tenants_name(plane: Plane) -> None:
    made = await create(plane)
    refusal = await refused(delete(plane, made.id, "acme"))
    assert list(refusal.fields) == ["confirm_display_name"]
    assert await get(plane, made.id) == made


async def test_a_deleted_tenant_is_shown_to_who_asks_and_changed_by_nobody(plane: Plane) -> None:
    directory = Directory(plane, await plane.tenant())
    other = await plane.tenant("Other")
    await directory.create(USER, userName="ada")
    gone = await delete(plane, directory.tenant)
    assert gone.state == pb.TENANT_STATE_DELETED
    assert gone.purge_time.ToDatetime() - gone.delete_time.ToDatetime() == timedelta(days=30)
    assert await get(plane, directory.tenant) == gone
    assert await listed(plane) == [other]
    assert await listed(plane, show_deleted=True) == [directory.tenant, other]
    assert (await refused(directory.find(USER))).code is grpc.StatusCode.NOT_FOUND
    meta, config = plane.admin.metadata(), pb.ScimTargetConfig(base_url="https://app.example/scim")
    calls = (
        update(plane, pb.Tenant(id=directory.tenant, display_name="New"), "display_name"),
        suspend(plane, directory.tenant),
        resume(plane, directory.tenant),
        delete(plane, directory.tenant),
        plane.admin.tokens.CreateToken(pb.CreateTokenRequest(tenant_id=directory.tenant, label="t"), metadata=meta),
        plane.admin.targets.CreateTarget(
            pb.CreateTargetRequest(tenant_id=directory.tenant, display_name="App", scim=config), metadata=meta
        ),
    )
    assert [(await refused(call)).code for call in calls] == [FAILED] * len(calls)
    assert await get(plane, directory.tenant) == gone


@pytest.mark.parametrize("was_suspended", [False, True])
async def test_a_restored_tenant_is_as_it_was(plane: Plane, was_suspended: bool) -> None:
    directory = Directory(plane, await plane.tenant())
    await directory.create(USER, userName="ada")
    before = await suspend(plane, directory.tenant) if was_suspended else await get(plane, directory.tenant)
    await delete(plane, directory.tenant, grace=timedelta(days=1))
    assert await restore(plane, directory.tenant) == before
    if was_suspended:
        await resume(plane, directory.tenant)
    assert (await directory.find(USER))[0] == 1
    assert len(await events(plane, directory.tenant, "tenant.restore")) == 1


async def test_what_is_not_deleted_or_no_longer_there_is_not_restored(plane: Plane) -> None:
    made = await create(plane)
    assert (await refused(restore(plane, made.id))).code is FAILED
    await delete(plane, made.id, grace=timedelta())
    assert (await refused(restore(plane, made.id))).code is FAILED


async def test_gateways_drop_what_they_know_when_state_or_limits_change(plane: Plane) -> None:
    made = await create(plane)
    watch = plane.gateway.tokens.WatchTokens(pb.WatchTokensRequest(), metadata=plane.gateway.metadata())
    messages = aiter(watch)
    await anext(messages)  # The watch stands from here on.
    heard = (one.tenant_id async for one in messages if one.tenant_id)
    await update(plane, pb.Tenant(id=made.id, display_name="Quiet"), "display_name")
    await update(plane, pb.Tenant(id=made.id, limits=pb.TenantLimits(burst=5)), "limits.burst")
    assert await anext(heard) == made.id
    await suspend(plane, made.id)
    assert await anext(heard) == made.id
    watch.cancel()


@pytest.mark.parametrize("limits", [{"burst": 0}, {"max_body_bytes": 10}, {"max_active_tokens": 101}])
async def test_a_limit_out_of_range_names_its_field(plane: Plane, limits: dict[str, int]) -> None:
    refusal = await refused(create(plane, limits=pb.TenantLimits(**limits)))
    assert list(refusal.fields) == [f"limits.{name}" for name in limits]


async def test_only_administrators_suspend_and_delete(plane: Plane) -> None:
    made = await create(plane)
    for call in (
        plane.gateway.tenants.SuspendTenant(pb.SuspendTenantRequest(id=made.id), metadata=plane.gateway.metadata()),
        plane.worker.tenants.DeleteTenant(pb.DeleteTenantRequest(id=made.id), metadata=plane.worker.metadata()),
    ):
        assert (await refused(call)).code is grpc.StatusCode.PERMISSION_DENIED
    mask = FieldMask(paths=["state"])
    request = pb.UpdateTenantRequest(tenant=made, update_mask=mask)
    refusal = await refused(plane.admin.tenants.UpdateTenant(request, metadata=plane.admin.metadata()))
    assert list(refusal.fields) == ["update_mask"]
