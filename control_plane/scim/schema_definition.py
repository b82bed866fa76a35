"""A tenant's own extension: what may be defined, what may change later, and the form in which it is stored.

Only promises that are kept can be made: a characteristic that nothing here would enforce is refused by name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from control_plane.scim.core_schemas import DEFAULT_RESOURCE_TYPES, DEFAULT_SCHEMAS
from control_plane.scim.errors import InvalidValue
from control_plane.scim.errors import Mutability as MutabilityError
from control_plane.scim.quirks import CORE_URN_ALIASES, EXTENSION_URN_ALIASES
from control_plane.scim.schema import Attribute, AttributeType, Mutability, Returned, Schema, Uniqueness

MAX_EXTENSIONS = 20
MAX_ATTRIBUTES = 100
# Of all extensions of a tenant together, sub-attributes included, and the size of their JSON: /Schemas is one answer.
MAX_TENANT_ATTRIBUTES = 1000
MAX_TENANT_BYTES = 1024 * 1024
# As in protos/directory/v1/directory.proto, which refuses more at the door.
MAX_URN, MAX_SCHEMA_NAME, MAX_NAME, MAX_DESCRIPTION = 200, 200, 100, 1000
MAX_CANONICAL_VALUES, MAX_CANONICAL_VALUE = 100, 200
MAX_REFERENCE_TYPES, MAX_REFERENCE_TYPE = 20, 100

# Every character that a path, a filter and a list of "attributes" can carry: no blank, comma, bracket or quote. Nor "/"
# and "%", which would not come back from the URL of meta.location as they were.
_URN = re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}:[a-z0-9._~!$&'*+;=@:-]*[a-z0-9._~!$&'*+;=@-]", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# RFC 7643 section 2.4: the reference of a complex value.
_REFERENCE = "$ref"
_RESERVED = ("urn:ietf:params:scim:api:", "urn:ietf:params:scim:schemas:core:")
_TAKEN = (*(schema.id for schema in DEFAULT_SCHEMAS), *CORE_URN_ALIASES, *EXTENSION_URN_ALIASES)
_UNIQUE_TYPES = (AttributeType.STRING, AttributeType.REFERENCE, AttributeType.INTEGER)
_TYPES = tuple(kind.name for kind in DEFAULT_RESOURCE_TYPES)


@dataclass(frozen=True, slots=True)
class Extension:
    """A schema that resources of one type of one tenant may carry; ``resource_type`` is "User" or "Group"."""

    schema: Schema
    resource_type: str


def check_extension(extension: Extension, others: Iterable[Extension] = ()) -> None:
    """Raise InvalidValue, naming the attribute, unless ``extension`` can be created beside the tenant's ``others``."""
    schema = extension.schema
    if extension.resource_type not in _TYPES:
        raise InvalidValue(f"resource_type must be one of {', '.join(_TYPES)}")
    _check_urn(schema.id, [other.schema.id for other in others])
    if not schema.name.strip() or len(schema.name) > MAX_SCHEMA_NAME:
        raise InvalidValue(f"the schema must have a name of at most {MAX_SCHEMA_NAME} characters")
    if len(schema.description) > MAX_DESCRIPTION:
        raise InvalidValue(f"the description is longer than {MAX_DESCRIPTION} characters")
    if not schema.attributes:
        raise InvalidValue("the schema must have at least one attribute")
    _check_names(schema.attributes, "")
    for attribute in schema.attributes:
        _check_attribute(attribute, attribute.name)
        _check_subs(attribute)
        _check_uniqueness(attribute)


def check_change(old: Extension, new: Extension) -> None:
    """Raise Mutability, naming the attribute, if stored values might contradict ``new``; InvalidValue if it is wrong.

    Names, types and what identifies a value stay; what is demanded can only become less. Making an attribute immutable
    is allowed: it concerns writes to come.
    """
    if old.schema.id.lower() != new.schema.id.lower() or old.resource_type != new.resource_type:
        raise MutabilityError("the URN and the resource type of a schema cannot be changed")
    check_extension(new)
    _check_attributes_change(old.schema.attributes, new.schema.attributes, "")


def attribute_count(extension: Extension) -> int:
    """Return how many attributes and sub-attributes there are."""
    return sum(1 + len(attribute.sub_attributes) for attribute in extension.schema.attributes)


def to_json(extension: Extension) -> dict[str, Any]:
    """Return the extension as JSON: "attributes" in the form of RFC 7643 section 7, and what stands beside them."""
    return {
        "id": extension.schema.id,
        "name": extension.schema.name,
        "description": extension.schema.description,
        "resourceType": extension.resource_type,
        "attributes": [attribute_to_json(attribute) for attribute in extension.schema.attributes],
    }


def from_json(body: Mapping[str, Any]) -> Extension:
    """Return the extension that :func:`to_json` wrote; InvalidValue for another shape. Absent means the default."""
    attributes = tuple(_attribute_from_json(item) for item in _items(body, "attributes"))
    schema = Schema(_text(body, "id"), _text(body, "name"), _text(body, "description"), attributes)
    return Extension(schema, _text(body, "resourceType"))


def attribute_to_json(attribute: Attribute) -> dict[str, Any]:
    """Return the characteristics that mean something for the type. Never an empty list: clients take it literally."""
    body: dict[str, Any] = {
        "name": attribute.name,
        "type": attribute.type.value,
        "multiValued": attribute.multi_valued,
        "description": attribute.description,
        "required": attribute.required,
        "mutability": attribute.mutability.value,
        "returned": attribute.returned.value,
        "uniqueness": attribute.uniqueness.value,
    }
    if attribute.has_case:
        body["caseExact"] = attribute.case_exact
    if attribute.canonical_values:
        body["canonicalValues"] = list(attribute.canonical_values)
    if attribute.reference_types:
        body["referenceTypes"] = list(attribute.reference_types)
    if attribute.sub_attributes:
        body["subAttributes"] = [attribute_to_json(sub) for sub in attribute.sub_attributes]
    return body


def _check_urn(urn: str, others: Sequence[str]) -> None:
    if len(urn) > MAX_URN or _URN.fullmatch(urn) is None:
        raise InvalidValue(f"{urn[:MAX_URN]!r} is not a URN of at most {MAX_URN} characters, as urn:example:badge:1.0")
    key = urn.lower()
    if key.startswith(_RESERVED):
        raise InvalidValue(f"{urn} is reserved by the SCIM protocol")
    for taken in (*_TAKEN, *others):
        other = taken.lower()
        # Below one another, "a:b" would be both a schema and the attribute "b" of the schema "a".
        if key == other or key.startswith(f"{other}:") or other.startswith(f"{key}:"):
            raise InvalidValue(f"{urn} collides with the schema {taken}")


def _check_names(attributes: Sequence[Attribute], within: str) -> None:
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidValue(f"{within.rstrip('.') or 'the schema'} has more than {MAX_ATTRIBUTES} attributes")
    seen = set[str]()
    for attribute in attributes:
        is_reference = bool(within) and attribute.name == _REFERENCE
        if not is_reference and (len(attribute.name) > MAX_NAME or _NAME.fullmatch(attribute.name) is None):
            raise InvalidValue(
                f"{within}{attribute.name[:MAX_NAME]!r} is not a name: a letter, then letters, digits, '_' and '-', "
                f"at most {MAX_NAME}"
            )
        if attribute.name.lower() in seen:
            raise InvalidValue(f"{within}{attribute.name} is defined twice; names are the same in any case")
        seen.add(attribute.name.lower())


def _check_attribute(attribute: Attribute, path: str) -> None:
    if attribute.mutability is Mutability.WRITE_ONLY:
        raise InvalidValue(f"{path} cannot be writeOnly: nothing secret is stored here")
    if attribute.mutability is Mutability.READ_ONLY:
        raise InvalidValue(f"{path} cannot be readOnly: nobody could ever write it")
    if len(attribute.description) > MAX_DESCRIPTION:
        raise InvalidValue(f"the description of {path} is longer than {MAX_DESCRIPTION} characters")
    if attribute.canonical_values and attribute.type is not AttributeType.STRING:
        raise InvalidValue(f"{path} cannot have canonicalValues: only strings have")
    if attribute.reference_types and attribute.type is not AttributeType.REFERENCE:
        raise InvalidValue(f"{path} cannot have referenceTypes: only references have")
    _check_listed(attribute.canonical_values, f"canonicalValues of {path}", MAX_CANONICAL_VALUES, MAX_CANONICAL_VALUE)
    _check_listed(attribute.reference_types, f"referenceTypes of {path}", MAX_REFERENCE_TYPES, MAX_REFERENCE_TYPE)


def _check_listed(values: Sequence[str], what: str, count: int, length: int) -> None:
    if len(values) > count or any(not value or len(value) > length for value in values):
        raise InvalidValue(f"{what} are at most {count}, each of 1 to {length} characters")


def _check_subs(attribute: Attribute) -> None:
    if attribute.is_complex != bool(attribute.sub_attributes):
        raise InvalidValue(f"{attribute.name} must have sub-attributes if it is complex, and only then")
    _check_names(attribute.sub_attributes, f"{attribute.name}.")
    for sub in attribute.sub_attributes:
        path = f"{attribute.name}.{sub.name}"
        _check_attribute(sub, path)
        # RFC 7643 section 2.3.8: no complex attributes within complex ones.
        if sub.is_complex or sub.sub_attributes or sub.multi_valued:
            raise InvalidValue(f"{path} must be a simple attribute with one value")
        if sub.uniqueness is not Uniqueness.NONE:
            raise InvalidValue(f"{path} cannot be unique: only top-level attributes can")
        if sub.mutability is Mutability.IMMUTABLE and attribute.multi_valued:
            raise InvalidValue(f"{path} cannot be immutable: the elements of a list have no identity to keep it by")


def _check_uniqueness(attribute: Attribute) -> None:
    if attribute.uniqueness is Uniqueness.NONE:
        return
    if attribute.uniqueness is Uniqueness.GLOBAL:
        raise InvalidValue(f"{attribute.name} cannot be unique globally: other tenants' values are out of reach")
    if attribute.multi_valued or attribute.type not in _UNIQUE_TYPES:
        raise InvalidValue(f"{attribute.name} cannot be unique: only single strings, references and integers can")


def _check_attributes_change(old: Sequence[Attribute], new: Sequence[Attribute], within: str) -> None:
    before = {attribute.name: attribute for attribute in old}
    after = {attribute.name: attribute for attribute in new}
    for name, attribute in before.items():
        path = f"{within}{name}"
        if name not in after:
            raise MutabilityError(f"{path} cannot be removed or spelled differently: resources may have values")
        _check_attribute_change(attribute, after[name], path)
        _check_attributes_change(attribute.sub_attributes, after[name].sub_attributes, f"{path}.")
    for name, attribute in after.items():
        if attribute.required and name not in before:
            raise MutabilityError(f"{within}{name} is new and cannot be required: resources may lack a value")


def _check_attribute_change(old: Attribute, new: Attribute, path: str) -> None:
    if (old.type, old.multi_valued, old.case_exact) != (new.type, new.multi_valued, new.case_exact):
        raise MutabilityError(f"type, multiValued and caseExact of {path} cannot be changed")
    if new.required and not old.required:
        raise MutabilityError(f"{path} cannot become required: resources may lack a value")
    if new.uniqueness is not Uniqueness.NONE and old.uniqueness is Uniqueness.NONE:
        raise MutabilityError(f"{path} cannot become unique: resources may share a value")


def _attribute_from_json(item: object) -> Attribute:
    if not isinstance(item, Mapping):
        raise InvalidValue("each attribute must be an object")
    name = _text(item, "name")
    return Attribute(
        name,
        _choice(AttributeType, item, "type", AttributeType.STRING),
        _text(item, "description"),
        multi_valued=item.get("multiValued") is True,
        required=item.get("required") is True,
        canonical_values=tuple(str(value) for value in _items(item, "canonicalValues")),
        case_exact=item.get("caseExact") is True,
        mutability=_choice(Mutability, item, "mutability", Mutability.READ_WRITE),
        returned=_choice(Returned, item, "returned", Returned.DEFAULT),
        uniqueness=_choice(Uniqueness, item, "uniqueness", Uniqueness.NONE),
        reference_types=tuple(str(value) for value in _items(item, "referenceTypes")),
        sub_attributes=tuple(_attribute_from_json(sub) for sub in _items(item, "subAttributes")),
    )


_Choice = TypeVar("_Choice", AttributeType, Mutability, Returned, Uniqueness)


def _choice(kind: type[_Choice], body: Mapping[str, Any], name: str, default: _Choice) -> _Choice:
    text = body.get(name)
    try:
        return kind(text) if text is not None else default
    except ValueError:
        raise InvalidValue(f"{name} must be one of {', '.join(kind)}") from None


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise InvalidValue(f"{name} must be a string")
    return value


def _items(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name, [])
    if not isinstance(value, list):
        raise InvalidValue(f"{name} must be a list")
    return value
