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
from control_plane.scim.members import MemberOp, joined, member_operations
from control_plane.scim.messages import Op, Operation, parse_patch
from control_plane.scim.paths import PatchPath, parse_path
from control_plane.scim.registry import ResourceModel, SchemaRegistry, Target
from control_plane.scim.schema import Document, Schema
from control_plane.scim.schema import Mutability as Kind
from control_plane.scim.validate import require_attributes
from control_plane.scim.values import merge, put

# A step takes well under 1 us. Without a limit, 1 MiB of operations on one long list could hold a core for minutes.
MAX_STEPS = 1_000_000

__all__ = ["MAX_STEPS", "Op", "Operation", "PatchResult", "apply", "parse_patch"]


@dataclass(frozen=True, slots=True)
class PatchResult:
    """The outcome. ``changed`` is about the document alone: whether ``members`` change anything, only storage knows."""

    document: Document
    changed: bool
    members: list[MemberOp] = field(default_factory=list)


def apply(
    resource_type_name: str, document: Document, operations: Sequence[Operation], registry: SchemaRegistry
) -> PatchResult:
    """Return ``document`` after ``operations``; the first that fails raises its ScimError and nothing has happened.

    ``document`` must be in stored form, as :func:`validate.normalise` and this function return it; it is not touched.
    """
    model = registry.model(resource_type_name)
    # The quickest deep copy there is, and it says what a document is: JSON.
    work = _Work(model, orjson.loads(orjson.dumps(document)))
    for number, operation in enumerate(operations, 1):
        try:
            work.run(operation)
        except ScimError as err:
            raise type(err)(f"operation {number}: {err.detail}") from err
    result = work.finish()
    return PatchResult(result, result != document, joined(work.members))


class _Work:
    """The copy under change."""

    def __init__(self, model: ResourceModel, document: Document) -> None:
        self._model = model
        self._document = document
        self._steps = 0
        self.members: list[MemberOp] = []

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
            if target.attribute.name == "schemas":
                return
            if _is_read_only(target):
                raise Mutability(f"{path.attribute} is readOnly")
            self._spend(operation.op, target, len(operation.path), operation.value)
            self._attribute(operation.op, target, path.selection, operation.value)

    def finish(self) -> Document:
        """Return the document without empty extensions, "schemas" canonical; InvalidValue without what is required."""
        for schema in self._model.extensions:
            if not self._document.get(schema.id, True):
                del self._document[schema.id]
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
        """
        if not isinstance(value, dict):
            raise InvalidValue(f"{op} without a path needs an object as its value")
        for key, item in value.items():
            schema = self._model.schema_of(key) if extension is None else None
            if schema is not None:
                self._schema(op, schema, item)
                continue
            path = _path_of(key, extension)
            target = self._model.resolve(path.attribute) if path is not None else None
            if path is not None and target is not None and not _is_read_only(target):
                self._spend(op, target, len(key), item)
                self._attribute(op, target, path.selection, item)

    def _spend(self, op: Op, target: Target, path_length: int, value: object) -> None:
        """Count the steps that an operation on a list takes; TooMany when the request passes MAX_STEPS.

        A selection looks at each element once per term, so by the length of the path; an add or a remove by value
        compares each given element with each that is there. Members never cost this: nobody compares them here.
        """
        if not target.attribute.multi_valued or target.is_members:
            return
        holder = self._document if target.extension is None else self._document.get(target.extension, {})
        existing = len(holder.get(target.attribute.name, ()))
        given = len(value) if isinstance(value, list) and op is not Op.REPLACE else 1
        self._steps += (existing + 4) * path_length + (existing + given) * given
        if self._steps > MAX_STEPS:
            raise TooMany(f"this request compares too many elements of {target.attribute.name}: send it in parts")

    def _attribute(self, op: Op, target: Target, selection: Filter | None, value: object) -> None:
        if target.is_members:
            self.members += member_operations(op, target.sub, selection, value)
            return
        if not target.attribute.is_stored:
            return
        holder = self._document
        if target.extension is not None:
            holder = holder.setdefault(target.extension, {})
        if target.attribute.multi_valued:
            elements.change(holder, elements.Change(op, target.attribute, target.sub, selection, value))
        elif selection is not None:
            raise InvalidPath(f"{target.attribute.name} has one value: there is nothing to select by a filter")
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
