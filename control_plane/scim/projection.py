"""``attributes`` and ``excludedAttributes`` (RFC 7644 sections 3.4.2.5 and 3.9): what of a resource is returned.

Compiled once per request, applied to each resource of the answer. "schemas" and "id" always stay.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.scim.attribute_path import parse_attribute_path
from control_plane.scim.errors import InvalidValue
from control_plane.scim.registry import MEMBERS, ResourceModel, SchemaRegistry, default_registry
from control_plane.scim.schema import Document

# As it comes: the text of the query parameter, or the list of a /.search body; None or empty is "not given".
Names = str | Sequence[str] | None

_ALWAYS = ("schemas", "id")
_SELECTION = re.compile(r"\[[^\]]*\]")


# The named paths: a name leads to its named sub-attributes, or to None for "all of it".
Tree = dict[str, "Tree | None"]


@dataclass(frozen=True, slots=True)
class Projection:
    """What to keep (``only``) or what to leave out (``without``); at most one is set, neither keeps everything."""

    only: Tree | None = None
    without: Tree | None = None

    def apply(self, resource: Document) -> Document:
        """Return the part of ``resource`` that was asked for; ``resource`` is not changed."""
        if self.only is not None:
            return _keep(resource, self.only)
        if self.without is not None:
            return _drop(resource, self.without)
        return resource


def compile_projection(
    resource_type_name: str, attributes: Names, excluded: Names, registry: SchemaRegistry
) -> Projection:
    """Return the projection that a request asks for; InvalidValue if it gives both parameters.

    Unknown names are ignored. ``emails[type eq "work"]``, which Microsoft's collection sends and the RFC does not know,
    is read as ``emails``.
    """
    wanted, unwanted = _given(attributes, excluded)
    model = registry.model(resource_type_name)
    if wanted is not None:
        return Projection(only=dict.fromkeys(_ALWAYS) | _tree(wanted, model))
    if unwanted is not None:
        return Projection(without={k: v for k, v in _tree(unwanted, model).items() if k not in _ALWAYS})
    return Projection()


def project(
    resource_type_name: str, resource: Document, attributes: Names, excluded: Names, registry: SchemaRegistry
) -> Document:
    """Return the part of one ``resource`` that a request asks for; see :func:`compile_projection`."""
    return compile_projection(resource_type_name, attributes, excluded, registry).apply(resource)


def wants_members(attributes: Names, excluded: Names) -> bool:
    """Whether the answer for a group has its members, so that they need not be read if not.

    Entra asks with ``excludedAttributes=members`` for exactly that reason. InvalidValue as above.
    """
    projection = compile_projection("Group", attributes, excluded, default_registry())
    if projection.only is not None:
        return MEMBERS in projection.only
    without = projection.without or {}
    # Members without some sub-attribute are still members.
    return MEMBERS not in without or without[MEMBERS] is not None


def _given(attributes: Names, excluded: Names) -> tuple[list[str] | None, list[str] | None]:
    wanted, unwanted = _split(attributes), _split(excluded)
    if wanted and unwanted:
        raise InvalidValue("attributes and excludedAttributes cannot be given together")
    return wanted or None, unwanted or None


def _split(names: Names) -> list[str]:
    text = ",".join(names) if names is not None and not isinstance(names, str) else names or ""
    return [name for part in _SELECTION.sub("", text).split(",") if (name := part.strip())]


def _tree(names: list[str], model: ResourceModel) -> Tree:
    root: Tree = {}
    for name in names:
        for keys in _key_paths(name, model):
            _insert(root, keys)
    return root


def _insert(root: Tree, keys: tuple[str, ...]) -> None:
    node = root
    for key in keys[:-1]:
        below = node.setdefault(key, {})
        if below is None:
            return
        node = below
    node[keys[-1]] = None


def _key_paths(name: str, model: ResourceModel) -> list[tuple[str, ...]]:
    """Return the sequences of keys in a resource that ``name`` stands for; none if nobody knows it."""
    schema = model.schema_of(name)
    if schema is model.core:
        return [(attribute.name,) for attribute in schema.attributes]
    if schema is not None:
        return [(schema.id,)]
    path = parse_attribute_path(name)
    target = model.resolve(path) if path is not None else None
    if target is None:
        return []
    keys = (target.extension, target.attribute.name, target.sub.name if target.sub else None)
    return [tuple(key for key in keys if key is not None)]


def _keep(value: Document, tree: Tree) -> Document:
    kept = {}
    for name, below in tree.items():
        if name in value:
            part = value[name] if below is None else _within(value[name], below, _keep)
            if below is None or part:
                kept[name] = part
    return kept


def _drop(value: Document, tree: Tree) -> Document:
    kept = {}
    for name, item in value.items():
        if name not in tree:
            kept[name] = item
        elif (below := tree[name]) is not None and (part := _within(item, below, _drop)):
            kept[name] = part
    return kept


def _within(value: Any, tree: Tree, cut: Callable[[Document, Tree], Document]) -> Any:
    """Apply ``cut`` to an object, or to each of a list; what is empty then is gone, and a simple value has no parts."""
    if isinstance(value, list):
        return [part for item in value if isinstance(item, dict) and (part := cut(item, tree))]
    return cut(value, tree) if isinstance(value, dict) else None
