"""A request body against the registry: POST and PUT, in one pass."""

from dataclasses import dataclass
from typing import Any

from control_plane.scim.errors import InvalidSyntax, InvalidValue
from control_plane.scim.members import member_ids
from control_plane.scim.registry import MEMBERS, ResourceModel, SchemaRegistry
from control_plane.scim.schema import Document, Schema
from control_plane.scim.values import coerce_fields

# RFC 7643 section 4.1.1 leaves the default open; a user who is pushed without "active" is meant to work.
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Normalised:
    """A body as it is stored.

    ``document`` has canonical names and "schemas", and neither id, meta, password nor members. ``members`` are ids,
    None if the body does not name the attribute. ``ignored`` are the top-level names nobody knows, for the audit trail.
    ``defaulted`` are the attributes that got their value here: PUT keeps the stored one instead.
    """

    document: Document
    members: list[str] | None
    ignored: tuple[str, ...] = ()
    defaulted: frozenset[str] = frozenset()


def normalise(resource_type_name: str, body: dict[str, Any], registry: SchemaRegistry) -> Normalised:
    """Return ``body`` in stored form. InvalidSyntax without "schemas"; InvalidValue names the wrong attribute."""
    model = registry.model(resource_type_name)
    _require_schemas(body)
    fields, unknown = coerce_fields(model.document_attributes, body, "")
    document: Document = {"schemas": [], **fields}
    members: list[str] | None = None
    ignored = []
    for name in unknown:
        if model.has_members and name.lower() == MEMBERS:
            _refuse_second(members is not None, MEMBERS)
            members = list(member_ids(body[name]))
        elif (schema := model.schema_of(name)) is not None and schema is not model.core:
            _put_extension(model, schema, body[name], document)
        else:
            ignored.append(name)
    defaulted = frozenset[str]()
    if ACTIVE in model.document_attributes and ACTIVE not in document:
        document[ACTIVE] = True
        defaulted = frozenset((ACTIVE,))
    require_attributes(model, document)
    document["schemas"] = model.schemas_in(document)
    return Normalised(document, members, tuple(ignored), defaulted)


def require_attributes(model: ResourceModel, document: Document) -> None:
    """Raise InvalidValue unless every required attribute has a value that is more than blanks."""
    for attribute in model.required:
        value = document.get(attribute.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InvalidValue(f"{attribute.name} is required and must not be empty")


def _require_schemas(body: dict[str, Any]) -> None:
    """RFC 7643 section 3: "schemas" is required and not empty. Which ones it lists decides nothing, the endpoint does.

    Identity providers list vendor URNs, draft URNs, or an extension without its data; all of that is harmless.
    """
    value = body.get("schemas")
    if value is None:
        value = next((item for name, item in body.items() if name.lower() == "schemas"), None)
    if not value:
        raise InvalidSyntax('the body must have "schemas", a list of schema URNs')
    if not isinstance(value, list | str) or not all(isinstance(urn, str) for urn in value):
        raise InvalidSyntax('"schemas" must be a list of strings')


def _put_extension(model: ResourceModel, schema: Schema, value: object, document: Document) -> None:
    if value is None or value == []:
        return
    if not isinstance(value, dict):
        raise InvalidValue(f"{schema.id} must be an object")
    _refuse_second(schema.id in document, schema.id)
    fields, _ = coerce_fields(model.extension_attributes[schema.id], value, f"{schema.id}:")
    if fields:
        document[schema.id] = fields


def _refuse_second(is_second: bool, name: str) -> None:
    if is_second:
        raise InvalidSyntax(f"{name} stands twice, in different spelling")
