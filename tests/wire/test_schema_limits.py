"""How large a tenant's custom schemas can be, one and all together; and that the wire says the same as the rules."""

import grpc

from control_plane.scim import schema_definition as definition
from protos.buf.validate import validate_pb2
from protos.directory.v1 import directory_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused
from tests.wire.test_schemas import advertised, create, hr, update


def large(number: int, attributes: int, subs: int, description: str = "") -> dict[str, object]:
    """Return what makes an extension of so many complex attributes, each with so many sub-attributes."""
    parts = [pb.SchemaAttribute(name=f"s{sub}", description=description) for sub in range(subs)]
    whole = [
        pb.SchemaAttribute(name=f"a{each}", type=pb.ATTRIBUTE_TYPE_COMPLEX, sub_attributes=parts)
        for each in range(attributes)
    ]
    return {"id": f"urn:x:large-{number}", "attributes": whole}


async def test_all_schemas_of_a_tenant_have_a_thousand_attributes_at_most(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant, **large(1, 50, 9)))
    almost = await create(plane, hr(tenant, **large(2, 50, 9)))
    one_more = hr(tenant, attributes=[pb.SchemaAttribute(name="a")])
    refusal = await refused(create(plane, one_more))
    assert (refusal.code, "1001 of at most 1000" in refusal.text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    almost.attributes.add(name="a")
    refusal = await refused(update(plane, almost))
    assert (refusal.code, "1001 of at most 1000" in refusal.text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    # The limit is a tenant's own.
    await create(plane, hr(await plane.tenant("Other")))


async def test_one_schema_of_more_attributes_is_refused_before_it_is_read(plane: Plane) -> None:
    tenant = await plane.tenant()
    refusal = await refused(create(plane, hr(tenant, **large(1, 100, 10))))
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["schema.attributes"])


async def test_the_schemas_of_a_tenant_are_one_answer_at_most(plane: Plane) -> None:
    tenant = await plane.tenant()
    await create(plane, hr(tenant, **large(1, 5, 99, "d" * 1000)))
    refusal = await refused(create(plane, hr(tenant, **large(2, 5, 99, "ä" * 1000))))
    assert (refusal.code, "bytes as JSON" in refusal.text) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    assert len(await advertised(plane, tenant)) == 4


def test_the_wire_and_the_rules_have_the_same_limits() -> None:
    attribute, schema = pb.SchemaAttribute.DESCRIPTOR.fields_by_name, pb.Schema.DESCRIPTOR.fields_by_name
    said = {name: attribute[name].GetOptions().Extensions[validate_pb2.field] for name in attribute}
    told = {name: schema[name].GetOptions().Extensions[validate_pb2.field] for name in schema}
    assert told["id"].string.max_len == definition.MAX_URN
    assert told["name"].string.max_len == definition.MAX_SCHEMA_NAME
    assert said["name"].string.max_len == definition.MAX_NAME
    for fields in (said, told):
        assert fields["description"].string.max_len == definition.MAX_DESCRIPTION
    for repeated in (told["attributes"].repeated, said["sub_attributes"].repeated):
        assert repeated.max_items == definition.MAX_ATTRIBUTES
    values, types = said["canonical_values"].repeated, said["reference_types"].repeated
    assert (values.max_items, values.items.string.max_len) == (100, definition.MAX_CANONICAL_VALUE)
    assert (values.max_items, types.max_items) == (definition.MAX_CANONICAL_VALUES, definition.MAX_REFERENCE_TYPES)
    assert types.items.string.max_len == definition.MAX_REFERENCE_TYPE
