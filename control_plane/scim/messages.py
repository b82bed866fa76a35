"""The messages of RFC 7644 as JSON shapes: ListResponse out, PatchOp in."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.scim import quirks
from control_plane.scim.errors import InvalidSyntax, InvalidValue, TooMany

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_OPERATIONS = 1000


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
    """Return the member ``name`` (lower case) of a message, whose names are case-insensitive too; None if absent."""
    return next((value for key, value in item.items() if key.lower() == name), None)
