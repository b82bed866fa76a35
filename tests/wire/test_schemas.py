"""Custom schemas: defined, advertised and in force at once, on every control plane; and never against stored data."""

import asyncio

import grpc
import orjson
import pytest

from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
HR = "urn:acme:params:scim:schemas:extension:hr:1.0:User"
BASE = "https://scim.example/v2"


def hr(tenant: str, **changes: object) -> pb.Schema:
    """Return an extension of users with one attribute of each interesting kind."""
    values: dict[str, object] = {
        "tenant_id": tenant,
        "id": HR,
        "resource_type": pb.RESOURCE_TYPE_USER,
        "name": "HR",
        "description": "What HR knows",
        "attributes": [
            pb.SchemaAttribute(name="badge", uniqueness=pb.UNIQUENESS_SERVER, mutability=pb.MUTABILITY_IMMUTABLE),
            pb.SchemaAttribute(name="hiredAt", type=pb.ATTRIBUTE_TYPE_DATE_TIME, returned=pb.RETURNED_REQUEST),
            pb.SchemaAttribute(name="level", type=pb.ATTRIBUTE_TYPE_INTEGER),
            pb.SchemaAttribute(name="shift", canonical_values=["day", "night"], case_exact=True),
            pb.SchemaAttribute(
                name="offices",
                type=pb.ATTRIBUTE_TYPE_COMPLEX,
                multi_valued=True,
                sub_attributes=[
                    pb.SchemaAttribute(name="value", required=True),
                    pb.SchemaAttribute(name="door", type=pb.ATTRIBUTE_TYPE_REFERENCE, reference_types=["external"]),
                ],
            ),
        ],
    }
    return pb.Schema(**{**values, **changes})  # type: ignore[arg-type]  # test data


async def create(plane: Plane, schema: pb.Schema) -> pb.Schema:
    request = pb.CreateSchemaRequest(schema=schema)
    return (await plane.admin.schemas.CreateSchema(request, metadata=plane.admin.metadata())).schema


async def get(plane: Plane, tenant: str, urn: str = HR) -> pb.Schema:
    request = pb.GetSchemaRequest(tenant_id=tenant, id=urn)
    return (await plane.admin.schemas.GetSchema(request, metadata=plane.admin.metadata())).schema


async def urns(plane: Plane, tenant: str) -> list[str]:
    request = pb.ListSchemasRequest(tenant_id=tenant)
    listed = await plane.admin.schemas.ListSchemas(request, metadata=plane.admin.metadata())
    return [one.id for one in listed.schemas]


async def update(plane: Plane, schema: pb.Schema) -> pb.Schema:
    request = pb.UpdateSchemaRequest(schema=schema)
    return (await plane.admin.schemas.UpdateSchema(request, metadata=plane.admin.metadata())).schema


async def delete(plane: Plane, tenant: str, urn: str = HR) -> None:
    request = pb.DeleteSchemaRequest(tenant_id=tenant, id=urn)
    await plane.admin.schemas.DeleteSchema(request, metadata=plane.admin.metadata())


async def discovery(plane: Plane, tenant: str, kind: pb.DiscoveryKind.ValueType, wanted: str = "") -> dict[str, object]:
    request = pb.GetDiscoveryRequest(tenant_id=tenant, kind=kind, id=wanted, reference_base=BASE)
    answer = await plane.gateway.schemas.GetDiscovery(request, metadata=plane.gateway.metadata())
    body: dict[str, object] = orjson.loads(answer.document)
    return body


async def advertised(plane: Plane, tenant: str) -> list[str]:
    """Return the URNs that /Schemas shows."""
    body = await discovery(plane, tenant, pb.DISCOVERY_KIND_SCHEMAS)
    return [one["id"] for one in body["Resources"]]  # type: ignore[attr-defined]  # a list of schemas


async def user(plane: Plane, tenant: str, **fields: object) -> pb.Resource:
    document = orjson.dumps({"schemas": [USER], "userName": "ada", **fields}).decode()
    request = pb.CreateResourceRequest(tenant_id=tenant, type=pb.RESOURCE_TYPE_USER, document=document)
    return (await plane.gateway.directory.CreateResource(request, metadata=plane.gateway.metadata())).resource


async def events(plane: Plane, tenant: str, action: str) -> list[audit_pb2.AuditEvent]:
    request = audit_pb2.ListAuditEventsRequest(tenant_id=tenant, action=action)
    answer = await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())
    return list(answer.events)


async def test_a_schema_is_stored_as_it_was_defined(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await create(plane, hr(tenant))
    assert await get(plane, tenant) == made == await get(plane, tenant, HR.upper())
    assert (made.tenant_id, made.id, made.name, made.description) == (tenant, HR, "HR", "What HR knows")
    assert made.create_time == made.update_time
    badge, hired, level, shift, offices = made.attributes
    # What was left out is said.
    assert (badge.type, badge.returned) == (pb.ATTRIBUTE_TYPE_STRING, pb.RETURNED_DEFAULT)
    assert (badge.mutability, badge.uniqueness) == (pb.MUTABILITY_IMMUTABLE, pb.UNIQUENESS_SERVER)
    assert (hired.type, hired.returned, hired.mutability) == (
        pb.ATTRIBUTE_TYPE_DATE_TIME,
        pb.RETURNED_REQUEST,
        pb.MUTABILITY_READ_WRITE,
    )
    assert (level.type, level.uniqueness) == (pb.ATTRIBUTE_TYPE_INTEGER, pb.UNIQUENESS_NONE)
    assert (list(shift.canonical_values), shift.case_exact) == (["day", "night"], True)
    assert offices.multi_valued
    assert [(sub.name, sub.required) for sub in offices.sub_attributes] == [("value", True), ("door", False)]
    (event,) = await events(plane, tenant, "schema.create")
    assert (event.resource_type, event.resource_id) == ("schema", HR)
    assert orjson.loads(event.details)["attributes"] == ["badge", "hiredAt", "level", "shift", "offices"]


async def test_schemas_are_listed_in_order_of_creation_for_their_tenant_only(plane: Plane) -> None:
    tenant, other = await plane.tenant(), await plane.tenant("Other")
    names = ["urn:x:zebra", "urn:x:ape", "urn:x:mole"]
    for urn in names:
        await create(plane, hr(tenant, id=urn))
    await create(plane, hr(other))
    assert await urns(plane, tenant) == names
    assert await urns(plane, other) == [HR]
    refusal = await refused(get(plane, other, names[0]))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_a_new_schema_is_advertised_at_once_and_to_its_tenant_only(plane: Plane) -> None:
    tenant, other = await plane.tenant(), await plane.tenant("Other")
    assert HR not in await advertised(plane, tenant)
    await create(plane, hr(tenant))
    assert HR in await advertised(plane, tenant)
    assert HR not in await advertised(plane, other)
    one = await discovery(plane, tenant, pb.DISCOVERY_KIND_SCHEMAS, HR)
    assert [each["name"] for each in one["attributes"]] == ["badge", "hiredAt", "level", "shift", "offices"]  # type: ignore[attr-defined]  # a list
    assert one["meta"] == {"resourceType": "Schema", "location": f"{BASE}/Schemas/{HR}"}
    kind = await discovery(plane, tenant, pb.DISCOVERY_KIND_RESOURCE_TYPES, "User")
    assert {"schema": HR, "required": False} in kind["schemaExtensions"]  # type: ignore[operator]  # a list
    config = await discovery(plane, tenant, pb.DISCOVERY_KIND_SERVICE_PROVIDER_CONFIG)
    assert config["patch"] == {"supported": True}


async def test_a_new_schema_is_understood_by_the_next_request(plane: Plane) -> None:
    tenant = await plane.tenant()
    badge = {HR: {"badge": "7", "level": 3}}
    before = await user(plane, tenant, userName="before", **badge)
    assert HR not in orjson.loads(before.document)
    await create(plane, hr(tenant))
    after = await user(plane, tenant, userName="after", **badge)
    # "selected": the schema hides an attribute unless it is asked for.
    assert orjson.loads(after.selected)[HR] == badge[HR]
    refusal = await refused(user(plane, tenant, userName="third", **badge))
    assert (refusal.code, refusal.info.metadata["scim_type"]) == (grpc.StatusCode.ALREADY_EXISTS, "uniqueness")
    refusal = await refused(user(plane, tenant, userName="fourth", **{HR: {"level": "high"}}))
    assert (refusal.code, refusal.info.metadata["scim_type"]) == (grpc.StatusCode.INVALID_ARGUMENT, "invalidValue")


async def test_unique_group_names_are_advertised_as_the_switch_says(plane: Plane) -> None:
    tenant = await plane.tenant()

    async def uniqueness() -> str:
        urn = "urn:ietf:params:scim:schemas:core:2.0:Group"
        body = await discovery(plane, tenant, pb.DISCOVERY_KIND_SCHEMAS, urn)
        (found,) = (one["uniqueness"] for one in body["attributes"] if one["name"] == "displayName")  # type: ignore[attr-defined]  # a list
        return str(found)

    assert await uniqueness() == "server"
    wanted = tenancy_pb2.Tenant(id=tenant, compatibility=tenancy_pb2.Compatibility(unique_group_names=False))
    request = tenancy_pb2.UpdateTenantRequest(tenant=wanted)
    request.update_mask.paths.append("compatibility.unique_group_names")
    await plane.admin.tenants.UpdateTenant(request, metadata=plane.admin.metadata())
    assert await uniqueness() == "none"


@pytest.mark.parametrize(("kind", "wanted"), [(pb.DISCOVERY_KIND_SCHEMAS, HR), (pb.DISCOVERY_KIND_RESOURCE_TYPES, "X")])
async def test_what_is_not_advertised_is_not_found(plane: Plane, kind: pb.DiscoveryKind.ValueType, wanted: str) -> None:
    refusal = await refused(discovery(plane, await plane.tenant(), kind, wanted))
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.NOT_FOUND, "SCIM_ERROR")


async def test_discovery_of_an_unknown_tenant_is_not_found(plane: Plane) -> None:
    nobody = "01890000-0000-7000-8000-000000000000"
    refusal = await refused(discovery(plane, nobody, pb.DISCOVERY_KIND_SCHEMAS))
    assert (refusal.code, refusal.info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_urn_is_taken_in_any_case(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant))
    refusal = await refused(create(plane, hr(tenant, id=HR.replace("acme", "ACME"))))
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    assert await urns(plane, tenant) == [HR]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"resource_type": 0}, "resource_type"),
        ({"id": "not a urn"}, "URN"),
        ({"id": "urn:ietf:params:scim:schemas:core:2.0:User"}, "urn:ietf:params:scim:schemas:core:2.0:User"),
        ({"name": " "}, "name"),
        ({"attributes": []}, "attributes"),
        ({"attributes": [pb.SchemaAttribute(name="a b")]}, "a b"),
        ({"attributes": [pb.SchemaAttribute(name="a"), pb.SchemaAttribute(name="A")]}, "A is defined twice"),
        ({"attributes": [pb.SchemaAttribute(name="a", mutability=pb.MUTABILITY_READ_ONLY)]}, "a cannot be readOnly"),
        ({"attributes": [pb.SchemaAttribute(name="a", description="\0")]}, "NUL"),
        (
            {"attributes": [pb.SchemaAttribute(name="a", multi_valued=True, uniqueness=pb.UNIQUENESS_SERVER)]},
            "a cannot be unique",
        ),
        ({"attributes": [pb.SchemaAttribute(name="a", type=pb.ATTRIBUTE_TYPE_COMPLEX)]}, "a must have sub-attributes"),
    ],
)
async def test_a_wrong_definition_is_refused_by_name(plane: Plane, changes: dict[str, object], says: str) -> None:
    tenant = await plane.tenant()
    refusal = await refused(create(plane, hr(tenant, **changes)))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in refusal.text
    assert refusal.fields
    assert await urns(plane, tenant) == []


async def test_a_schema_needs_its_tenant(plane: Plane) -> None:
    refusal = await refused(create(plane, hr("01890000-0000-7000-8000-000000000000")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_a_tenant_has_at_most_twenty_schemas_even_if_all_are_created_at_once(plane: Plane) -> None:
    tenant = await plane.tenant()
    calls = (create(plane, hr(tenant, id=f"urn:x:schema-{number}")) for number in range(25))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    codes = [one.code() for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert codes == [grpc.StatusCode.FAILED_PRECONDITION] * 5
    assert len(await urns(plane, tenant)) == 20


async def test_attributes_may_be_added_and_described_anew(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await create(plane, hr(tenant))
    wanted = hr(tenant, id=HR.upper(), resource_type=0, description="New")
    wanted.attributes.add(name="floor", type=pb.ATTRIBUTE_TYPE_INTEGER)
    wanted.attributes[0].description = "On the door"
    updated = await update(plane, wanted)
    assert (updated.id, updated.resource_type, updated.description) == (HR, pb.RESOURCE_TYPE_USER, "New")
    assert [each.name for each in updated.attributes][-1] == "floor"
    assert updated.create_time == made.create_time
    assert await get(plane, tenant) == updated
    body = await discovery(plane, tenant, pb.DISCOVERY_KIND_SCHEMAS, HR)
    assert body["attributes"][-1]["name"] == "floor"  # type: ignore[index]  # a list
    (event,) = await events(plane, tenant, "schema.update")
    assert orjson.loads(event.details)["changed"] == ["description", "badge", "floor"]


async def test_an_update_that_changes_nothing_leaves_no_trace(plane: Plane) -> None:
    tenant = await plane.tenant()
    made = await create(plane, hr(tenant))
    again = hr(tenant)
    again.attributes[2].case_exact = True  # says nothing of an integer
    assert await update(plane, again) == made
    assert await events(plane, tenant, "schema.update") == []


@pytest.mark.parametrize(
    ("number", "changes", "says"),
    [
        (0, {"type": pb.ATTRIBUTE_TYPE_INTEGER}, "badge"),
        (0, {"multi_valued": True, "uniqueness": pb.UNIQUENESS_NONE}, "badge"),
        (0, {"case_exact": True}, "badge"),
        (0, {"name": "Badge"}, "badge"),
        (1, {"required": True}, "hiredAt"),
        (2, {"uniqueness": pb.UNIQUENESS_SERVER}, "level"),
    ],
)
async def test_a_change_that_stored_data_might_contradict_is_refused(
    plane: Plane, number: int, changes: dict[str, object], says: str
) -> None:
    tenant = await plane.tenant()
    made = await create(plane, hr(tenant))
    wanted = hr(tenant)
    for name, value in changes.items():
        setattr(wanted.attributes[number], name, value)
    refusal = await refused(update(plane, wanted))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert says in refusal.text
    assert await get(plane, tenant) == made


async def test_an_attribute_cannot_be_removed(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant))
    wanted = hr(tenant)
    del wanted.attributes[3]
    refusal = await refused(update(plane, wanted))
    assert (refusal.code, "shift" in refusal.text) == (grpc.StatusCode.FAILED_PRECONDITION, True)


async def test_an_update_is_checked_like_a_new_definition(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant))
    refusal = await refused(update(plane, hr(tenant, name=" ")))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    refusal = await refused(update(plane, hr(tenant, resource_type=pb.RESOURCE_TYPE_GROUP)))
    assert list(refusal.fields) == ["schema.resource_type"]
    refusal = await refused(update(plane, hr(tenant, id="urn:x:nothing")))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_a_schema_without_values_can_be_deleted(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant))
    await user(plane, tenant)
    await delete(plane, tenant, HR.lower())
    assert await urns(plane, tenant) == []
    assert HR not in await advertised(plane, tenant)
    (event,) = await events(plane, tenant, "schema.delete")
    assert event.resource_id == HR
    assert (await refused(delete(plane, tenant))).code is grpc.StatusCode.NOT_FOUND
    # The name is free again.
    await create(plane, hr(tenant))


async def test_a_schema_with_values_cannot_be_deleted(plane: Plane) -> None:
    tenant, other = await plane.tenant(), await plane.tenant("Other")
    for owner in (tenant, other):
        await create(plane, hr(owner))
    ada = await user(plane, tenant, **{HR: {"badge": "7"}})
    refusal = await refused(delete(plane, tenant))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert HR in refusal.text
    await delete(plane, other)
    gone = pb.DeleteResourceRequest(tenant_id=tenant, type=pb.RESOURCE_TYPE_USER, id=ada.id)
    await plane.gateway.directory.DeleteResource(gone, metadata=plane.gateway.metadata())
    await delete(plane, tenant)


async def test_another_control_plane_hears_of_a_change(plane: Plane, database: Database, queue_url: str) -> None:
    tenant = await plane.tenant()
    async with running_plane(settings(database, queue_url)) as second, asyncio.timeout(10):
        assert HR not in await advertised(second, tenant)
        await create(plane, hr(tenant))
        # It is told by a notification, and would ask by itself after a second if it were deaf.
        while HR not in await advertised(second, tenant):
            pass
        await delete(plane, tenant)
        while HR in await advertised(second, tenant):
            pass


async def test_only_administrators_define_and_gateways_ask(plane: Plane) -> None:
    tenant = await plane.tenant()
    request = pb.CreateSchemaRequest(schema=hr(tenant))
    refusal = await refused(plane.gateway.schemas.CreateSchema(request, metadata=plane.gateway.metadata()))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    asked = pb.GetDiscoveryRequest(tenant_id=tenant, kind=pb.DISCOVERY_KIND_SCHEMAS)
    refusal = await refused(plane.worker.schemas.GetDiscovery(asked, metadata=plane.worker.metadata()))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
