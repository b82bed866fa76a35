"""Custom schemas <-> protobuf."""

from collections.abc import Iterable

from control_plane.api.convert import timestamp
from control_plane.domain.ids import TenantId
from control_plane.domain.resources import ResourceType
from control_plane.domain.schemas import CustomSchema
from control_plane.scim.schema import Attribute, AttributeType, Mutability, Returned, Schema, Uniqueness
from control_plane.scim.schema_definition import Extension
from protos.directory.v1 import directory_pb2 as pb

# The wire's enums have the RFC's characteristics under the same names.
_TYPES = {pb.AttributeType.Value(f"ATTRIBUTE_TYPE_{each.name}"): each for each in AttributeType}
_MUTABILITY = {
    pb.MUTABILITY_READ_ONLY: Mutability.READ_ONLY,
    pb.MUTABILITY_READ_WRITE: Mutability.READ_WRITE,
    pb.MUTABILITY_IMMUTABLE: Mutability.IMMUTABLE,
}
_RETURNED = {pb.Returned.Value(f"RETURNED_{each.name}"): each for each in Returned}
_UNIQUENESS = {pb.UNIQUENESS_NONE: Uniqueness.NONE, pb.UNIQUENESS_SERVER: Uniqueness.SERVER}
_WIRE_TYPES = {each: wire for wire, each in _TYPES.items()}
_WIRE_MUTABILITY = {each: wire for wire, each in _MUTABILITY.items()}
_WIRE_RETURNED = {each: wire for wire, each in _RETURNED.items()}
_WIRE_UNIQUENESS = {each: wire for wire, each in _UNIQUENESS.items()}


def described(wire: pb.Schema) -> Schema:
    """Return what ``wire`` describes; it may still be wrong (``check_extension``)."""
    return Schema(wire.id, wire.name, wire.description, tuple(_attribute(each) for each in wire.attributes))


def resource_type(wire: pb.Schema) -> ResourceType | None:
    """Return the resource type that ``wire`` names, None if it names none."""
    return ResourceType(wire.resource_type) if wire.resource_type else None


def schema(tenant: TenantId, one: CustomSchema) -> pb.Schema:
    """Return a stored schema on the wire."""
    wire = definition(one.extension)
    created, updated = timestamp(one.created_at), timestamp(one.updated_at)
    wire.MergeFrom(pb.Schema(tenant_id=str(tenant), create_time=created, update_time=updated))
    return wire


def definition(one: Extension) -> pb.Schema:
    """Return an extension on the wire, without what only a stored one has. Check it first (``check_extension``)."""
    return pb.Schema(
        id=one.schema.id,
        resource_type=pb.ResourceType.ValueType(ResourceType[one.resource_type.upper()]),
        name=one.schema.name,
        description=one.schema.description,
        attributes=_wire_attributes(one.schema.attributes),
    )


def _attribute(wire: pb.SchemaAttribute) -> Attribute:
    return Attribute(
        name=wire.name,
        type=_TYPES.get(wire.type, AttributeType.STRING),
        description=wire.description,
        multi_valued=wire.multi_valued,
        required=wire.required,
        canonical_values=tuple(wire.canonical_values),
        case_exact=wire.case_exact,
        mutability=_MUTABILITY.get(wire.mutability, Mutability.READ_WRITE),
        returned=_RETURNED.get(wire.returned, Returned.DEFAULT),
        uniqueness=_UNIQUENESS.get(wire.uniqueness, Uniqueness.NONE),
        reference_types=tuple(wire.reference_types),
        sub_attributes=tuple(_attribute(each) for each in wire.sub_attributes),
    )


def _wire_attributes(attributes: Iterable[Attribute]) -> list[pb.SchemaAttribute]:
    return [
        pb.SchemaAttribute(
            name=each.name,
            type=_WIRE_TYPES[each.type],
            description=each.description,
            multi_valued=each.multi_valued,
            required=each.required,
            canonical_values=each.canonical_values,
            case_exact=each.case_exact,
            mutability=_WIRE_MUTABILITY[each.mutability],
            returned=_WIRE_RETURNED[each.returned],
            uniqueness=_WIRE_UNIQUENESS[each.uniqueness],
            reference_types=each.reference_types,
            sub_attributes=_wire_attributes(each.sub_attributes),
        )
        for each in attributes
    ]
