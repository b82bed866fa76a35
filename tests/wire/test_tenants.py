"""Tenants: the identity provider's preset, the switches beside it, and changes that are in force at once."""

import grpc
import orjson
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from control_plane.domain.tenants import IdentityProvider
from control_plane.scim.compatibility import PRESETS, SWITCHES
from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused


async def create(plane: Plane, **fields: object) -> pb.Tenant:
    request = pb.CreateTenantRequest(display_name="Acme", **fields)  # type: ignore[arg-type]  # test data
    return (await plane.admin.tenants.CreateTenant(request, metadata=plane.admin.metadata())).tenant


async def get(plane: Plane, tenant: str) -> pb.Tenant:
    request = pb.GetTenantRequest(id=tenant)
    return (await plane.admin.tenants.GetTenant(request, metadata=plane.admin.metadata())).tenant


async def update(plane: Plane, wanted: pb.Tenant, *paths: str) -> pb.Tenant:
    request = pb.UpdateTenantRequest(tenant=wanted, update_mask=FieldMask(paths=paths))
    return (await plane.admin.tenants.UpdateTenant(request, metadata=plane.admin.metadata())).tenant


async def events(plane: Plane, tenant: str, action: str) -> list[dict[str, object]]:
    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action=action)
    answer = await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())
    return [orjson.loads(one.details) for one in answer.events]


def test_the_wire_has_every_switch_and_every_preset() -> None:
    assert tuple(pb.Compatibility.DESCRIPTOR.fields_by_name) == SWITCHES
    on_the_wire = {name.removeprefix("IDENTITY_PROVIDER_"): number for name, number in pb.IdentityProvider.items()}
    assert on_the_wire == {"UNSPECIFIED": 0, **{each.name: each.value for each in IdentityProvider}}
    assert {each.preset for each in IdentityProvider} == set(PRESETS)


async def test_a_tenant_without_an_identity_provider_is_generic(plane: Plane) -> None:
    made = await create(plane)
    assert made.identity_provider == pb.IDENTITY_PROVIDER_GENERIC
    assert not made.compatibility.ListFields()
    assert made.effective_compatibility == pb.Compatibility(
        replace_creates=False,
        put_keeps_active=True,
        put_keeps_members=False,
        unique_group_names=True,
        reject_unknown_members=False,
        strict_attributes=False,
    )
    assert await get(plane, made.id) == made
    listed = await plane.admin.tenants.ListTenants(pb.ListTenantsRequest(), metadata=plane.admin.metadata())
    assert made in listed.tenants


async def test_an_identity_provider_presets_the_switches(plane: Plane) -> None:
    made = await create(plane, identity_provider=pb.IDENTITY_PROVIDER_ENTRA)
    assert made.identity_provider == pb.IDENTITY_PROVIDER_ENTRA
    assert made.effective_compatibility.replace_creates is True
    assert not made.compatibility.ListFields()
    assert await events(plane, made.id, "tenant.create") == [{"display_name": "Acme", "identity_provider": "entra"}]


async def test_an_update_changes_what_the_mask_names_and_nothing_else(plane: Plane) -> None:
    made = await create(plane)
    wanted = pb.Tenant(
        id=made.id,
        display_name="Renamed",
        identity_provider=pb.IDENTITY_PROVIDER_ENTRA,
        compatibility=pb.Compatibility(strict_attributes=True),
    )
    renamed = await update(plane, wanted, "display_name")
    assert (renamed.display_name, renamed.identity_provider) == ("Renamed", pb.IDENTITY_PROVIDER_GENERIC)
    assert renamed.effective_compatibility == made.effective_compatibility
    provided = await update(plane, wanted, "identity_provider", "compatibility")
    assert provided.effective_compatibility.replace_creates is True
    assert provided.compatibility == pb.Compatibility(strict_attributes=True)
    assert await get(plane, made.id) == provided
    assert [one["changed"] for one in await events(plane, made.id, "tenant.update")] == [
        ["identity_provider", "compatibility.strict_attributes"],
        ["display_name"],
    ]


async def test_a_switch_is_set_and_cleared_by_its_own_path(plane: Plane) -> None:
    made = await create(plane, identity_provider=pb.IDENTITY_PROVIDER_ENTRA)
    both = pb.Compatibility(replace_creates=False, put_keeps_members=True)
    wanted = pb.Tenant(id=made.id, compatibility=both)
    paths = "compatibility.replace_creates", "compatibility.put_keeps_members"
    found = await update(plane, wanted, *paths)
    assert found.compatibility == both
    assert found.effective_compatibility.replace_creates is False
    cleared = await update(plane, pb.Tenant(id=made.id), "compatibility.replace_creates")
    assert cleared.compatibility == pb.Compatibility(put_keeps_members=True)
    assert cleared.effective_compatibility.replace_creates is True
    assert (await events(plane, made.id, "tenant.update"))[0] == {
        "display_name": "Acme",
        "identity_provider": "entra",
        "compatibility": {"put_keeps_members": True},
        "changed": ["compatibility.replace_creates"],
    }


async def test_the_whole_compatibility_is_replaced_by_its_path(plane: Plane) -> None:
    made = await create(plane)
    first = pb.Compatibility(strict_attributes=True, put_keeps_members=True)
    await update(plane, pb.Tenant(id=made.id, compatibility=first), "compatibility")
    second = pb.Compatibility(put_keeps_members=False)
    found = await update(plane, pb.Tenant(id=made.id, compatibility=second), "compatibility")
    assert found.compatibility == second
    found = await update(plane, pb.Tenant(id=made.id), "compatibility")
    assert not found.compatibility.ListFields()
    assert found.effective_compatibility == made.effective_compatibility


async def test_a_switch_is_in_force_for_the_next_request(plane: Plane) -> None:
    made = await create(plane)
    document = '{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada", "shoeSize": 38}'
    request = directory_pb2.CreateResourceRequest(
        tenant_id=made.id, type=directory_pb2.RESOURCE_TYPE_USER, document=document
    )

    async def post() -> directory_pb2.CreateResourceResponse:
        return await plane.gateway.directory.CreateResource(request, metadata=plane.gateway.metadata())

    assert "shoeSize" not in (await post()).resource.document
    strict = pb.Tenant(id=made.id, compatibility=pb.Compatibility(strict_attributes=True))
    await update(plane, strict, "compatibility.strict_attributes")
    refusal = await refused(post())
    assert (refusal.code, refusal.info.metadata["scim_type"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalidSyntax")
    assert "shoeSize" in refusal.text


async def test_an_update_that_changes_nothing_leaves_no_trace(plane: Plane) -> None:
    made = await create(plane)
    assert await update(plane, made, "display_name", "identity_provider", "compatibility") == made
    assert await events(plane, made.id, "tenant.update") == []


@pytest.mark.parametrize(
    ("paths", "fields", "field"),
    [
        ([], {}, "update_mask"),
        (["id"], {}, "update_mask"),
        (["*"], {}, "update_mask"),
        (["effective_compatibility"], {}, "update_mask"),
        (["compatibility.no_such_switch"], {}, "update_mask"),
        (["display_name"], {"display_name": ""}, "tenant.display_name"),
        (["display_name"], {"display_name": "x" * 201}, "tenant.display_name"),
        (["display_name"], {"display_name": "a\0b"}, "tenant.display_name"),
        (["identity_provider"], {"identity_provider": 99}, "tenant.identity_provider"),
    ],
)
async def test_a_wrong_update_names_the_field(
    plane: Plane, paths: list[str], fields: dict[str, object], field: str
) -> None:
    made = await create(plane)
    wanted = pb.Tenant(id=made.id, **fields)  # type: ignore[arg-type]  # test data
    refusal = await refused(update(plane, wanted, *paths))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == [field]
    assert await get(plane, made.id) == made


@pytest.mark.parametrize("tenant", ["", "nobody", "01890000-0000-7000-8000-000000000000"])
async def test_a_tenant_that_does_not_exist_cannot_be_updated(plane: Plane, tenant: str) -> None:
    refusal = await refused(update(plane, pb.Tenant(id=tenant, display_name="New"), "display_name"))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_only_administrators_update_tenants(plane: Plane) -> None:
    request = pb.UpdateTenantRequest(tenant=await create(plane), update_mask=FieldMask(paths=["display_name"]))
    refusal = await refused(plane.gateway.tenants.UpdateTenant(request, metadata=plane.gateway.metadata()))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
