"""PATCH (RFC 7644 section 3.5.2): operations applied to a copy of a document, all or none.

``elements.py`` knows how the elements of a multi-valued attribute change, ``members.py`` what becomes of a group's
members: they are split off, in order, and never loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from control_plane.scim import elements, quirks
from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.errors import InvalidPath, InvalidValue, Mutability, NoTarget, ScimError, TooMany
from control_plane.scim.filters import Filter
from control_plane.scim.limits import MAX_MEMBER_SELECTIONS, MAX_PATCH_KEYS
from control_plane.scim.members import MemberOp, RemoveSelected, joined, member_operations
from control_plane.scim.messages import Op, Operation, parse_patch
from control_plane.scim.paths import PatchPath, parse_path
from control_plane.scim.registry import Target
from control_plane.scim.rules import ScimRules
from control_plane.scim.schema import Document, Schema
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.validate import check_immutable, refuse_unknown, require_attributes
from control_plane.scim.values import merge, put, unknown_parts

# A step takes about 0.25 us. Without a limit, 1 MiB of operations on one long list could hold a core for minutes.
MAX_STEPS = 500_000

__all__ = ["MAX_STEPS", "Op", "Operation", "PatchResult", "apply", "parse_patch"]


@dataclass(frozen=True, slots=True)
class PatchResult:
    """The outcome. ``changed`` is about the document alone: whether ``members`` change anything, only storage knows.

    ``ignored`` are the names in path-less values that nobody knows, for the audit trail.
    """

    document: Document
    changed: bool
    members: list[MemberOp] = field(default_factory=list)
    ignored: tuple[str, ...] = ()


def apply(
    resource_type_name: str,
    document: Document,
    operations: Sequence[Operation],
    rules: ScimRules,
    *,
    resource_id: str | None = None,
) -> PatchResult:
    """Return ``document`` after ``operations``; the first that fails raises its ScimError and nothing has happened.

    ``document`` must be in stored form, as :func:`validate.normalise` and this function return it; it is not touched.
    ``resource_id``, which no document has, lets a client write the id that the resource has anyway.
    """
    # The quickest deep copy there is, and it says what a document is: JSON.
    work = _Work(resource_type_name, rules, orjson.loads(orjson.dumps(document)), resource_id)
    for number, operation in enumerate(operations, 1):
        try:
            work.run(operation)
        except ScimError as err:
            raise type(err)(f"operation {number}: {err.detail}") from err
    result, members = work.finish(document), joined(work.members)
    if sum(isinstance(one, RemoveSelected) for one in members) > MAX_MEMBER_SELECTIONS:
        raise TooMany(f"a PATCH has at most {MAX_MEMBER_SELECTIONS} selections of members by anything but their value")
    return PatchResult(result, result != document, members, tuple(work.ignored))


class _Work:
    """The copy under change."""

    def __init__(self, type_name: str, rules: ScimRules, document: Document, resource_id: str | None) -> None:
        self._model = rules.registry.model(type_name)
        self._switches = rules.compatibility
        self._document = document
        self._id = resource_id
        self._steps = self._keys = 0
        self.members: list[MemberOp] = []
        # A dict, for its order.
        self.ignored: dict[str, None] = {}

    def run(self, operation: Operation) -> None:
        """Apply one operation."""
        if operation.path is None:
            if operation.op is Op.REMOVE:
                raise NoTarget("remove needs a path")
            self._object(operation.op, operation.value, None)
        elif (schema := self._model.schema_of(operation.path)) is not None:
            self._schema(operation.op, schema, operation.value)
        else:
            path = parse_path(operation.path)
            target = self._model.resolve(path.attribute)
            if target is None:
                raise InvalidPath(f"a {self._model.type.name} has no attribute {path.attribute}")
            # Derived from the document, whatever a client adds to it.
            if target.attribute.name == "schemas" and target.extension is None:
                return
            if _is_read_only(target):
                if target.attribute.name == "id" and operation.op is not Op.REMOVE and operation.value == self._id:
                    return
                raise Mutability(f"{path.attribute} is readOnly")
            self._spend(operation.op, target, len(operation.path), operation.value)
            self._attribute(operation.op, target, path.selection, operation.value)

    def finish(self, before: Document) -> Document:
        """Return the document without empty extensions, "schemas" canonical.

        InvalidValue without what is required, Mutability if what is immutable differs from ``before``.
        """
        for schema in self._model.extensions:
            if not self._document.get(schema.id, True):
                del self._document[schema.id]
        check_immutable(self._model, before, self._document)
        require_attributes(self._model, self._document)
        self._document["schemas"] = self._model.schemas_in(self._document)
        return self._document

    def _schema(self, op: Op, schema: Schema, value: object) -> None:
        """Operate on a whole extension, or on the core named by its URN."""
        if schema is self._model.core:
            if op is Op.REMOVE:
                raise NoTarget("a resource cannot lose its core schema")
            self._object(op, value, None)
        elif op is Op.REMOVE or (op is Op.REPLACE and value is None):
            self._document.pop(schema.id, None)
        elif value is not None:
            self._object(op, value, schema.id)

    def _object(self, op: Op, value: object, extension: str | None) -> None:
        """Add or replace each member of ``value``, whose keys are paths: within ``extension`` if that is given.

        Unknown and readOnly attributes are ignored here, unlike in a path: identity providers send whole profiles.
        With ``strict_attributes`` an unknown one is InvalidSyntax. Of more than MAX_PATCH_KEYS it is TooMany.
        """
        if not isinstance(value, dict):
            raise InvalidValue(f"{op} without a path needs an object as its value")
        self._keys += len(value)
        if self._keys > MAX_PATCH_KEYS:
            raise TooMany(f"the values without a path of a PATCH have at most {MAX_PATCH_KEYS} keys")
        for key, item in value.items():
            schema = self._model.schema_of(key) if extension is None else None
            if schema is not None:
                self._schema(op, schema, item)
                continue
            path = _path_of(key, extension)
            target = self._model.resolve(path.attribute) if path is not None else None
            if path is None or target is None:
                self._ignore(key if extension is None else f"{extension}:{key}")
            elif not _is_read_only(target):
                self._spend(op, target, len(key), item)
                self._attribute(op, target, path.selection, item)

    def _ignore(self, name: str) -> None:
        if self._switches.strict_attributes:
            refuse_unknown([name])
        self.ignored[name] = None

    def _spend(self, op: Op, target: Target, path_length: int, value: object) -> None:
        """Count the steps that an operation on a list takes; TooMany when the request passes MAX_STEPS.

        A selection looks at each element once per term, so by the length of the path; an add or a remove by value
        compares each given element with each that is there. Members cost their path alone: nobody compares them here.
        """
        if target.is_members:
            self._charge(2 * path_length, target)
            return
        if not target.attribute.multi_valued:
            return
        holder = self._document if target.extension is None else self._document.get(target.extension, {})
        existing = len(holder.get(target.attribute.name, ()))
        given = len(value) if isinstance(value, list) and op is not Op.REPLACE else 1
        self._charge((existing + 4) * path_length + (existing + given) * given, target)

    def _charge(self, steps: int, target: Target) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise TooMany(f"this request has too much work on {target.attribute.name}: send it in parts")

    def _attribute(self, op: Op, target: Target, selection: Filter | None, value: object) -> None:
        if self._switches.strict_attributes and op is not Op.REMOVE and target.sub is None:
            within = "" if target.extension is None else f"{target.extension}:"
            refuse_unknown(list(unknown_parts(target.attribute, value, within)))
        if selection is not None and not target.attribute.multi_valued:
            raise InvalidPath(f"{target.attribute.name} has one value: there is nothing to select by a filter")
        if target.is_members:
            self.members += member_operations(op, target.attribute, target.sub, selection, value)
            return
        if not target.attribute.is_stored:
            return
        holder = self._document
        if target.extension is not None:
            holder = holder.setdefault(target.extension, {})
        if target.attribute.multi_valued:
            if selection is not None:
                value = quirks.single(value)
            creates = self._switches.replace_creates
            elements.change(holder, elements.Change(op, target.attribute, target.sub, selection, value, creates))
        else:
            _change_single(holder, op, target, value)


def _change_single(holder: dict[str, Any], op: Op, target: Target, value: object) -> None:
    """Change an attribute with one value. Whatever a remove carries as its value is ignored, as in the RFC."""
    attribute, sub = target.attribute, target.sub
    if sub is None and not attribute.is_complex:
        put(holder, attribute, op, value)
        return
    if sub is None:
        value = quirks.complex_value(attribute, value)
    if sub is None and (op is Op.REMOVE or (op is Op.REPLACE and value in (None, []))):
        holder.pop(attribute.name, None)
        return
    # RFC 7644 section 3.5.2.3: sub-attributes that the value does not name remain unchanged, in replace as in add.
    parent = holder.setdefault(attribute.name, {})
    if sub is None:
        merge(parent, attribute, op, value)
    else:
        put(parent, sub, op, value, f"{attribute.name}.")
    if not parent:
        del holder[attribute.name]


def _path_of(key: str, extension: str | None) -> PatchPath | None:
    try:
        path = parse_path(key)
    except InvalidPath:
        return None
    if extension is None:
        return path
    return PatchPath(AttributePath(extension, path.attribute.name, path.attribute.sub), path.selection)


def _is_read_only(target: Target) -> bool:
    attributes = (target.attribute, target.sub or target.attribute)
    return any(attribute.mutability is Kind.READ_ONLY for attribute in attributes)
