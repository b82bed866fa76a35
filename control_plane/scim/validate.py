"""A request body against a tenant's rules: POST and PUT, in one pass; and what holds for every stored document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control_plane.scim.errors import InvalidSyntax, InvalidValue, Mutability
from control_plane.scim.members import member_ids
from control_plane.scim.registry import MEMBERS, Keys, ResourceModel
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Document, Schema
from control_plane.scim.values import coerce_fields, unknown_parts

# RFC 7643 section 4.1.1 leaves the default open; a user who is pushed without "active" is meant to work.
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Normalised:
    """A body as it is stored.

    ``document`` has canonical names and "schemas", and neither id, meta, password nor members. ``members`` are ids,
    None if the body does not name the attribute. ``ignored`` are the names that nobody knows, at the top level and in
    extensions ("<urn>:x"), for the audit trail. ``defaulted`` are the attributes that got their value here: PUT may
    keep the stored one instead.
    """

    document: Document
    members: list[str] | None
    ignored: tuple[str, ...] = ()
    defaulted: frozenset[str] = frozenset()


def normalise(resource_type_name: str, body: dict[str, Any], rules: ScimRules) -> Normalised:
    """Return ``body`` in stored form. InvalidSyntax without "schemas"; InvalidValue names the wrong attribute.

    With ``strict_attributes`` an attribute that no schema has, at any level, is InvalidSyntax too.
    """
    model = rules.registry.model(resource_type_name)
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
            ignored += _put_extension(model, schema, body[name], document)
        else:
            ignored.append(name)
    if rules.compatibility.strict_attributes:
        refuse_unknown([*ignored, *_unknown_parts(model, body)])
    defaulted = frozenset[str]()
    if ACTIVE in model.document_attributes and ACTIVE not in document:
        document[ACTIVE] = True
        defaulted = frozenset((ACTIVE,))
    require_attributes(model, document)
    document["schemas"] = model.schemas_in(document)
    return Normalised(document, members, tuple(ignored), defaulted)


def require_attributes(model: ResourceModel, document: Document) -> None:
    """Raise InvalidValue unless every required attribute has a value that is more than blanks.

    What an extension or a complex attribute requires is only missing if the extension or attribute has values.
    """
    for attribute in model.required:
        if _is_blank(document.get(attribute.name)):
            raise InvalidValue(f"{attribute.name} is required and must not be empty")
    for keys in model.required_parts:
        if any(_is_blank(holder.get(keys[-1])) for holder in _holders(document, keys[:-1])):
            raise InvalidValue(f"{model.spell(keys)} is required and must not be empty")


def check_immutable(model: ResourceModel, before: Document, after: Document) -> None:
    """Raise Mutability if an immutable attribute that had a value has another one, or none (RFC 7643 section 7)."""
    for keys in model.immutable:
        stored = value_at(before, keys)
        if stored is not None and value_at(after, keys) != stored:
            raise Mutability(f"{model.spell(keys)} cannot be changed once it is set")


def value_at(document: Document, keys: Keys) -> Any:
    """Return what ``keys`` lead to, None if nothing. The elements of a list have no keys."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def refuse_unknown(names: list[str]) -> None:
    """Raise InvalidSyntax if there are names that no schema has: what ``strict_attributes`` asks for."""
    if names:
        raise InvalidSyntax(f"no schema has the attribute {', '.join(name[:200] for name in names[:10])}")


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _holders(document: Document, keys: Keys) -> list[Any]:
    """Return the objects that ``keys`` lead to; each element of a list is one."""
    found: list[Any] = [document]
    for key in keys:
        values = [holder[key] for holder in found if key in holder]
        found = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return found


def _unknown_parts(model: ResourceModel, body: dict[str, Any]) -> Iterator[str]:
    """Yield the paths of unknown sub-attributes in ``body``."""
    for name, value in body.items():
        if (attribute := model.attribute(name)) is not None:
            yield from unknown_parts(attribute, value)
        elif (schema := model.schema_of(name)) is not None and schema is not model.core and isinstance(value, dict):
            for inner, item in value.items():
                if (attribute := model.attribute(inner, schema.id)) is not None:
                    yield from unknown_parts(attribute, item, f"{schema.id}:")


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


def _put_extension(model: ResourceModel, schema: Schema, value: object, document: Document) -> list[str]:
    """Put the values of an extension into ``document`` and return the names in it that the schema does not have."""
    if value is None or value == []:
        return []
    if not isinstance(value, dict):
        raise InvalidValue(f"{schema.id} must be an object")
    _refuse_second(schema.id in document, schema.id)
    fields, unknown = coerce_fields(model.extension_attributes[schema.id], value, f"{schema.id}:")
    if fields:
        document[schema.id] = fields
    return [f"{schema.id}:{name}" for name in unknown]


def _refuse_second(is_second: bool, name: str) -> None:
    if is_second:
        raise InvalidSyntax(f"{name} stands twice, in different spelling")
