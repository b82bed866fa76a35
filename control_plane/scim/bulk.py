"""The BulkRequest of RFC 7644 section 3.7: read, its bulkId references found, and put into an order that works.

A reference is "bulkId:x" as a whole string anywhere in an operation's data, as the end of a ``$ref``, as a quoted value
in the path of a PATCH operation, or as the id in the operation's own path (section 3.7.2). The order is that of the
request, but a creation comes before what refers to it. Creations that refer to each other in a circle are one step:
they stand or fall together, with ids that are fixed beforehand (section 3.7.1).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from control_plane.scim.errors import InvalidSyntax, InvalidValue, PayloadTooLarge, ResourceNotFound, ScimError
from control_plane.scim.limits import MAX_BULK_OPERATIONS
from control_plane.scim.messages import PATCH_OP

PREFIX = "bulkId:"
MEMBERS = "members"
ENDPOINTS = {"users": "User", "groups": "Group"}
# How much of what a client wrote is repeated in a message.
MAX_QUOTED = 100
MAX_ID = 200
_NOT_IN_ID = re.compile(r"[\s/?#]")
_WHOLE = re.compile(r"\AbulkId:(?P<id>.+)\Z", re.DOTALL)
_AT_END = re.compile(r"(?:\A|(?<=/))bulkId:(?P<id>[^/]+)\Z")
_QUOTED = re.compile(r'(?<=")bulkId:(?P<id>[^"\\]+)(?=")')


class Conflict(ScimError):
    """A bulkId leads to nothing: no operation has it, or the one that has it failed (RFC 7644 section 3.7.1)."""

    status = 409


class Method(StrEnum):
    """What an operation may do."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


METHODS = frozenset(Method)


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation as it was understood; with an ``error`` it must not be carried out.

    ``method`` is in capitals; one of Method unless that is the error. ``type_name`` is "" if the path names no type of
    resource, ``id`` is the rest of the path and may be "bulkId:x". ``data`` is a PatchOp message for PATCH, empty for
    DELETE. ``references`` are the bulkIds in path and data, ``values`` tells how much there is in ``data``.
    """

    method: str
    bulk_id: str = ""
    type_name: str = ""
    id: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    if_match: str = ""
    references: frozenset[str] = frozenset()
    values: int = 0
    error: ScimError | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The operations as sent, and the steps to take: indexes of operations, more than one in a step for a circle."""

    operations: tuple[BulkOperation, ...]
    steps: tuple[tuple[int, ...], ...]
    fail_on_errors: int | None = None


def plan(body: dict[str, Any], max_operations: int = MAX_BULK_OPERATIONS) -> Plan:
    """Return what to do for a BulkRequest body; "schemas" may be missing, names are taken in any case.

    Raised is what makes the request as a whole unreadable: InvalidSyntax without a list of operations, InvalidValue for
    failOnErrors below 1, PayloadTooLarge (RFC 7644 section 3.7.4 wants 413) over ``max_operations``. Everything else
    is the ``error`` of its operation: the others "MUST continue" (section 3.7).
    """
    fields = _fields(body)
    items = fields.get("operations")
    if not isinstance(items, list) or not items:
        raise InvalidSyntax('a bulk request must have "Operations", a list of at least one operation')
    if len(items) > max_operations:
        raise PayloadTooLarge(
            f"the bulk request has {len(items)} operations, which exceeds maxOperations ({max_operations})"
        )
    for number, item in enumerate(items, 1):
        # Not an operation that fails but a broken message: its result could not even repeat a method.
        if not isinstance(item, dict):
            raise InvalidSyntax(f"operation {number} must be an object")
    limit = fields.get("failonerrors")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidValue("failOnErrors must be a whole number of at least 1")
    operations = _linked([_operation(item) for item in items])
    return Plan(tuple(operations), tuple(_steps(operations)), limit)


def resolved(value: Any, ids: Mapping[str, str]) -> Any:
    """Return ``value`` (JSON) with each reference replaced by its resource's id; ``ids`` has them all, by bulkId."""
    return _resolved(value, ids, "")


def resolved_id(operation: BulkOperation, ids: Mapping[str, str]) -> str:
    """Return the resource's id in an operation's path."""
    return ids[operation.id.removeprefix(PREFIX)] if operation.id.startswith(PREFIX) else operation.id


def split_members(body: Mapping[str, Any], circle: Set[str]) -> tuple[dict[str, Any], list[Any]]:
    """Return a group's body without those members that refer to bulkIds of ``circle``, and these members."""
    kept, deferred = dict(body), list[Any]()
    for name, value in body.items():
        if name.lower() != MEMBERS:
            continue
        elements = value if isinstance(value, list) else [value]
        later = [not circle.isdisjoint(_references(element)[0]) for element in elements]
        deferred += [element for element, is_later in zip(elements, later, strict=True) if is_later]
        kept[name] = [element for element, is_later in zip(elements, later, strict=True) if not is_later]
    return kept, deferred


def adding_members(elements: Sequence[Any]) -> dict[str, Any]:
    """Return the PatchOp body that adds ``elements`` to a group."""
    return {"schemas": [PATCH_OP], "Operations": [{"op": "add", "path": MEMBERS, "value": list(elements)}]}


def not_created(bulk_id: str) -> Conflict:
    """Return the error of an operation that refers to one that failed."""
    return Conflict(f"the operation with bulkId {bulk_id[:MAX_QUOTED]!r} failed, so it cannot be referred to")


def _operation(item: dict[str, Any]) -> BulkOperation:
    """Return one operation, with the first thing that is wrong with it."""
    fields = _fields(item)
    given = fields.get("method")
    found = BulkOperation(given.upper()[:MAX_QUOTED] if isinstance(given, str) else "")
    try:
        bulk_id = _text(fields, "bulkId")
        # Known from here on, whatever else is wrong: the answer must repeat it.
        found = replace(found, bulk_id=bulk_id)
        if found.method not in METHODS:
            raise InvalidSyntax('"method" must be POST, PUT, PATCH or DELETE')
        found = _located(found, _text(fields, "path"))
        return _filled(found, fields)
    except ScimError as err:
        return replace(found, error=err)


def _located(operation: BulkOperation, path: str) -> BulkOperation:
    """Return the operation with what its path names."""
    if not path:
        raise InvalidSyntax('an operation must have a "path", such as /Users or /Users/<id>')
    if "://" in path or path.startswith("//"):
        raise InvalidSyntax('"path" must be relative to the root of the service, such as /Users/<id>')
    endpoint, _, rest = path.removeprefix("/").partition("/")
    type_name = ENDPOINTS.get(endpoint.lower())
    if type_name is None:
        raise ResourceNotFound(f'"path" must begin with /Users or /Groups, not {path[:MAX_QUOTED]!r}')
    if not rest.startswith(PREFIX):
        rest = rest.removesuffix("/")
        if len(rest) > MAX_ID or _NOT_IN_ID.search(rest):
            raise ResourceNotFound(f"no such {type_name}")
    if operation.method == Method.POST:
        if rest:
            raise InvalidSyntax('the "path" of a POST must be an endpoint, /Users or /Groups')
        if not operation.bulk_id:
            raise InvalidSyntax("a POST must have a bulkId (RFC 7644 section 3.7)")
    elif not rest:
        raise InvalidSyntax(f'the "path" of a {operation.method} must name a resource, as in /Users/<id>')
    return replace(operation, type_name=type_name, id=rest)


def _filled(operation: BulkOperation, fields: Mapping[str, Any]) -> BulkOperation:
    """Return the operation with its version, its data, and what they refer to."""
    if operation.method == Method.DELETE:
        data: Any = {}
    else:
        data = fields.get("data")
        if operation.method == Method.PATCH and isinstance(data, list):
            # RFC 7644 section 3.7.3 has such an example: the bare operations of a PatchOp.
            data = {"schemas": [PATCH_OP], "Operations": data}
        if not isinstance(data, dict):
            raise InvalidSyntax(f'a {operation.method} must have "data", an object')
    names, values = _references(data)
    if operation.id.startswith(PREFIX):
        names.add(operation.id.removeprefix(PREFIX))
    version = "" if operation.method == Method.POST else _text(fields, "version")
    return replace(operation, data=data, if_match=version, references=frozenset(names), values=values)


def _linked(operations: list[BulkOperation]) -> list[BulkOperation]:
    """Return the operations with an error where a bulkId is not unique, or refers to nothing."""
    creators = Counter(one.bulk_id for one in operations if one.method == Method.POST and one.bulk_id)
    found = []
    for one in operations:
        error = one.error
        unknown = sorted(one.references - creators.keys())
        if error is None and one.method == Method.POST and creators[one.bulk_id] > 1:
            # All of them: nobody can tell which one a reference means.
            error = InvalidSyntax(f"the bulkId {one.bulk_id[:MAX_QUOTED]!r} stands on more than one POST")
        elif error is None and unknown:
            error = Conflict(f"no POST of this request has the bulkId {unknown[0][:MAX_QUOTED]!r}")
        found.append(replace(one, error=error))
    return found


def _steps(operations: Sequence[BulkOperation]) -> Iterator[tuple[int, ...]]:
    """Yield the steps: each circle of references once (Tarjan's algorithm), and after everything it refers to.

    Without recursion: a chain may be as long as the request.
    """
    needs = _needs(operations)
    number: dict[int, int] = {}
    # The smallest number that each can reach among those that are in no step yet, which are the open ones.
    low: dict[int, int] = {}
    open_: list[int] = []
    is_open: set[int] = set()
    way: list[tuple[int, Iterator[int]]] = []

    def enter(at: int) -> None:
        number[at] = low[at] = len(number)
        open_.append(at)
        is_open.add(at)
        way.append((at, iter(needs[at])))

    for root in range(len(operations)):
        if root not in number:
            enter(root)
        while way:
            at, rest = way[-1]
            for one in rest:
                if one not in number:
                    enter(one)
                    break
                if one in is_open:
                    low[at] = min(low[at], number[one])
            else:
                way.pop()
                if way:
                    low[way[-1][0]] = min(low[way[-1][0]], low[at])
                if low[at] == number[at]:
                    step = open_[open_.index(at) :]
                    del open_[-len(step) :]
                    is_open.difference_update(step)
                    yield tuple(sorted(step))


def _needs(operations: Sequence[BulkOperation]) -> list[list[int]]:
    """Return, for each operation, the creations that must come before it, in order of the request."""
    creators = {one.bulk_id: at for at, one in enumerate(operations) if one.method == Method.POST}
    return [
        sorted({creators[name] for name in one.references} - {at}) if one.error is None else []
        for at, one in enumerate(operations)
    ]


def _references(value: Any) -> tuple[set[str], int]:
    """Return the bulkIds that ``value`` (JSON) refers to, and how many values it holds."""
    names: set[str] = set()
    waiting: list[tuple[str, Any]] = [("", value)]
    count = 0
    while waiting:
        key, node = waiting.pop()
        count += 1
        if isinstance(node, dict):
            waiting.extend(node.items())
        elif isinstance(node, list):
            waiting.extend((key, element) for element in node)
        elif isinstance(node, str) and PREFIX in node:
            names.update(match["id"] for pattern in _patterns(key) for match in pattern.finditer(node))
    return names, count


def _resolved(value: Any, ids: Mapping[str, str], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(node, ids, name) for name, node in value.items()}
    if isinstance(value, list):
        return [_resolved(element, ids, key) for element in value]
    if isinstance(value, str) and PREFIX in value:
        for pattern in _patterns(key):
            value = pattern.sub(lambda match: ids[match["id"]], value)
    return value


def _patterns(key: str) -> tuple[re.Pattern[str], ...]:
    """Return how a reference may look in a string under ``key``."""
    match key.lower():
        case "$ref":
            return (_AT_END,)
        case "path":
            return _WHOLE, _QUOTED
    return (_WHOLE,)


def _text(fields: Mapping[str, Any], name: str) -> str:
    """Return a string field, "" if it is absent or null."""
    value = fields.get(name.lower())
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidSyntax(f'"{name}" must be a string')
    return value


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a message by name in lower case: names are case-insensitive.

    InvalidSyntax for two spellings of one: as in resources, nobody can know which one is meant.
    """
    found = {name.lower(): value for name, value in item.items()}
    if len(found) < len(item):
        raise InvalidSyntax("a member of the message stands twice, in different case")
    return found
