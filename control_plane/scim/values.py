"""One value against one attribute: the shape in which it is stored, or InvalidValue naming the attribute.

None stands for "unassigned" throughout: null and the empty list are the same as absence (RFC 7643 section 2.5).
What is returned never shares a container with what came in.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from control_plane.scim import quirks
from control_plane.scim.compare import parse_date_time
from control_plane.scim.errors import InvalidSyntax, InvalidValue, TooMany
from control_plane.scim.limits import MAX_ELEMENTS
from control_plane.scim.messages import Op
from control_plane.scim.schema import Attribute, AttributeType


def coerce(attribute: Attribute, value: object, within: str = "") -> Any:
    """Return ``value`` as ``attribute`` stores it; None if that is nothing.

    Unknown and readOnly sub-attributes are dropped. A multi-valued attribute also takes a single value; of more than
    MAX_ELEMENTS it is TooMany. ``within`` is the path of the parent, with its dot, for messages.
    """
    if value is None or value == []:
        return None
    if not attribute.multi_valued:
        return _COERCIONS[attribute.type](attribute, value, within)
    items = value if isinstance(value, list) else [value]
    check_count(attribute, len(items), within)
    one = _COERCIONS[attribute.type]
    found = [one(attribute, item, within) for item in items if item is not None]
    found = [item for item in found if item is not None]
    if len(found) > 1 and attribute.is_complex:
        check_primary(attribute, found)
    return found or None


def coerce_element(attribute: Attribute, value: object) -> Any:
    """Return ``value`` as one element of a multi-valued attribute; None if that is nothing."""
    return _COERCIONS[attribute.type](attribute, value, "") if value is not None else None


def check_count(attribute: Attribute, count: int, within: str = "") -> None:
    """Raise TooMany for more elements than a multi-valued attribute can have."""
    if count > MAX_ELEMENTS:
        raise TooMany(f"{within}{attribute.name} can have at most {MAX_ELEMENTS} elements, these are {count}")


def check_primary(attribute: Attribute, elements: list[Any]) -> None:
    """Raise InvalidValue if more than one element is primary (RFC 7643 section 2.4)."""
    if sum(1 for element in elements if element.get("primary") is True) > 1:
        raise InvalidValue(f"{attribute.name} has more than one element with primary true")


def coerce_fields(
    lookup: Mapping[str, Attribute], value: Mapping[str, object], within: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the object with canonical names and stored shapes, and the names that ``lookup`` does not know."""
    out: dict[str, Any] = {}
    unknown: list[str] = []
    for name, item in value.items():
        attribute = lookup.get(name) or lookup.get(name.lower())
        if attribute is None:
            unknown.append(name)
            continue
        if item is None or not attribute.is_stored:
            continue
        stored = item if attribute.is_text and type(item) is str else coerce(attribute, item, within)
        if stored is None:
            continue
        if attribute.name in out:
            raise InvalidSyntax(f"{within}{attribute.name} stands twice, in different case")
        out[attribute.name] = stored
    return out, unknown


def unknown_parts(attribute: Attribute, value: object, within: str = "") -> Iterator[str]:
    """Yield the paths of what ``value`` has and ``attribute`` has no sub-attribute for."""
    for element in value if isinstance(value, list) else [value]:
        if attribute.is_complex and isinstance(element, dict):
            yield from (f"{within}{attribute.name}.{name}" for name in element if attribute.sub(name) is None)


def put(holder: dict[str, Any], attribute: Attribute, op: Op, value: object, within: str = "") -> None:
    """Set ``attribute`` in ``holder``. A remove, or a replace by nothing, takes it out; add nothing, and it stays."""
    stored = coerce(attribute, value, within) if op is not Op.REMOVE else None
    if stored is not None:
        holder[attribute.name] = stored
    elif op is not Op.ADD:
        holder.pop(attribute.name, None)


def merge(parent: dict[str, Any], attribute: Attribute, op: Op, value: object) -> None:
    """Put each sub-attribute that ``value`` names into ``parent``; unknown and readOnly ones are ignored.

    InvalidValue if ``value`` is no object; null changes nothing.
    """
    value = quirks.complex_value(attribute, value)
    if value is None or value == []:
        return
    if not isinstance(value, dict):
        raise _wrong(attribute, "", "an object")
    for name, item in value.items():
        sub = attribute.sub(name)
        if sub is not None and sub.is_stored:
            put(parent, sub, op, item, f"{attribute.name}.")


def _complex(attribute: Attribute, value: object, within: str) -> Any:
    if type(value) is not dict:
        value = quirks.complex_value(attribute, value)
        if value is None:
            return None
    if not isinstance(value, dict):
        raise _wrong(attribute, within, "an object")
    return coerce_fields(attribute.subs, value, f"{within}{attribute.name}.")[0] or None


def _text(attribute: Attribute, value: object, within: str) -> str:
    if not isinstance(value, str):
        raise _wrong(attribute, within, "a string")
    return value


def _boolean(attribute: Attribute, value: object, within: str) -> bool:
    found = quirks.boolean(value)
    if found is None:
        raise _wrong(attribute, within, "true or false")
    return found


def _integer(attribute: Attribute, value: object, within: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(attribute, within, "an integer")
    return value


def _decimal(attribute: Attribute, value: object, within: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(attribute, within, "a number")
    return value


def _date_time(attribute: Attribute, value: object, within: str) -> str:
    if not isinstance(value, str) or parse_date_time(value) is None:
        raise _wrong(attribute, within, "a dateTime, such as 2008-01-23T04:56:22Z")
    return value


def _wrong(attribute: Attribute, within: str, wanted: str) -> InvalidValue:
    return InvalidValue(f"{within}{attribute.name} must be {wanted}")


# References and binaries are not checked: RFC 7643 says SHOULD, and no IdP's user should fail for a sloppy photo URL.
_COERCIONS: Mapping[AttributeType, Callable[[Attribute, object, str], Any]] = {
    AttributeType.STRING: _text,
    AttributeType.REFERENCE: _text,
    AttributeType.BINARY: _text,
    AttributeType.BOOLEAN: _boolean,
    AttributeType.INTEGER: _integer,
    AttributeType.DECIMAL: _decimal,
    AttributeType.DATE_TIME: _date_time,
    AttributeType.COMPLEX: _complex,
}
