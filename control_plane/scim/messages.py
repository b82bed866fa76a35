"""The messages of RFC 7644 as JSON shapes: ListResponse out, PatchOp and SearchRequest in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.scim import quirks
from control_plane.scim.errors import InvalidCount, InvalidSyntax, InvalidValue, ScimError, TooMany

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_OPERATIONS = 1000
_DESCENDING = {"": False, "ascending": False, "descending": True}
# What fits into 64 bits with room to spare.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class Op(StrEnum):
    """What a PATCH operation does."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Operation:
    """One PATCH operation; ``path`` is None for the resource itself, ``value`` is None if absent or null."""

    op: Op
    path: str | None
    value: Any = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What a query asks for (RFC 7644 section 3.4.3); empty text and None are "not given".

    ``attributes`` and ``excluded`` are comma-separated names. ``cursor`` "" asks for the first page by cursor.
    """

    attributes: str = ""
    excluded: str = ""
    filter: str = ""
    sort_by: str = ""
    descending: bool = False
    start_index: int = 1
    count: int | None = None
    cursor: str | None = None


def list_response(resources: Sequence[dict[str, Any]], total_results: int, start_index: int) -> dict[str, Any]:
    """Return a ListResponse (RFC 7644 section 3.4.2). ``Resources`` is there even when empty: clients iterate it."""
    return {
        "schemas": [LIST_RESPONSE],
        "totalResults": total_results,
        "startIndex": start_index,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }


def parse_patch(body: dict[str, Any]) -> list[Operation]:
    """Return the operations of a PatchOp body, in order.

    "schemas" may be missing and unknown keys are ignored, since clients do both. InvalidSyntax for another shape,
    InvalidValue for an add or replace without value, TooMany over MAX_OPERATIONS.
    """
    items = _field(body, "operations")
    if not isinstance(items, list) or not items:
        raise InvalidSyntax('a PATCH body must have "Operations", a list of at least one operation')
    if len(items) > MAX_OPERATIONS:
        raise TooMany(f"a PATCH has at most {MAX_OPERATIONS} operations, this has {len(items)}")
    return [_operation(item, number) for number, item in enumerate(items, 1)]


def parse_search(body: dict[str, Any]) -> SearchRequest:
    """Return what the body of a POST to /.search asks for (RFC 7644 section 3.4.3, RFC 9865 section 2).

    "schemas" may be missing and unknown keys are ignored. InvalidValue names what has the wrong shape; it is
    InvalidCount for a count that comes with a cursor.
    """
    cursor = _field(body, "cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise InvalidValue("cursor must be a string")
    start = _integer(body, "startIndex", InvalidValue)
    return SearchRequest(
        attributes=_names(body, "attributes"),
        excluded=_names(body, "excludedAttributes"),
        filter=_text(body, "filter"),
        sort_by=_text(body, "sortBy").strip(),
        descending=parse_sort_order(_text(body, "sortOrder")),
        start_index=1 if start is None else start,
        count=_integer(body, "count", InvalidValue if cursor is None else InvalidCount),
        cursor=cursor,
    )


def parse_sort_order(text: str) -> bool:
    """Return whether ``text`` asks for descending order; empty is ascending. InvalidValue for any other word."""
    found = _DESCENDING.get(text.strip().lower())
    if found is None:
        raise InvalidValue('sortOrder must be "ascending" or "descending"')
    return found


def _names(body: dict[str, Any], name: str) -> str:
    value = _field(body, name.lower())
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) or item is None for item in names):
        raise InvalidValue(f"{name} must be a list of attribute names")
    return ",".join(item for item in names if item)


def _text(body: dict[str, Any], name: str) -> str:
    value = _field(body, name.lower())
    if value is not None and not isinstance(value, str):
        raise InvalidValue(f"{name} must be a string")
    return value or ""


def _integer(body: dict[str, Any], name: str, error: type[ScimError]) -> int | None:
    """Return an integer, which some clients spell as a string as they do in URLs; None if absent."""
    value = _field(body, name.lower())
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise error(f"{name} must be an integer")
    return value


def _operation(item: object, number: int) -> Operation:
    if not isinstance(item, dict):
        raise InvalidSyntax(f"operation {number} must be an object")
    name = _field(item, "op")
    try:
        op = Op(quirks.operation_name(name if isinstance(name, str) else ""))
    except ValueError:
        raise InvalidSyntax(f'operation {number}: "op" must be add, remove or replace') from None
    path = _field(item, "path")
    if path is not None and not isinstance(path, str):
        raise InvalidSyntax(f'operation {number}: "path" must be a string')
    if op is not Op.REMOVE and not any(key.lower() == "value" for key in item):
        raise InvalidValue(f"operation {number}: {op} needs a value")
    # A blank path is an absent one: serializers write unset strings so.
    return Operation(op, path.strip() or None if path else None, _field(item, "value"))


def _field(item: dict[str, Any], name: str) -> Any:
    """Return the member ``name`` (lower case) of a message, whose names are case-insensitive too; None if absent.

    InvalidSyntax for two spellings of it: as in resources, nobody can know which one is meant.
    """
    found = [value for key, value in item.items() if key.lower() == name]
    if len(found) > 1:
        raise InvalidSyntax(f'"{name}" stands twice, in different case')
    return found[0] if found else None
