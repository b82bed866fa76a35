"""What of a resource is returned: by the request, and by what the schema says of each attribute.

``attributes`` and ``excludedAttributes`` are RFC 7644 sections 3.4.2.5 and 3.9, ``returned`` is RFC 7643 section 7.
Compiled once per request and type, applied to each resource of the answer.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.scim.attribute_path import parse_attribute_path
from control_plane.scim.errors import InvalidValue
from control_plane.scim.registry import GROUPS, MEMBERS, Keys, ResourceModel, SchemaRegistry
from control_plane.scim.schema import Document, Returned

# As it comes: the text of the query parameter, or the list of a /.search body; None or empty is "not given".
Names = str | Sequence[str] | None

# Without brackets inside, so that a row of opening ones is not read to its end from each of them.
_SELECTION = re.compile(r"\[[^\[\]]*\]")


# The named paths: a name leads to its named sub-attributes, or to None for "all of it".
Tree = dict[str, "Tree | None"]


@dataclass(frozen=True, slots=True)
class Projection:
    """What to keep (``only``; None keeps everything), and what of that to leave out (``without``).

    ``wants_members`` and ``wants_groups`` say whether the answer has these at all, so that they are not read for
    nothing: Entra asks with ``excludedAttributes=members`` for exactly that reason.
    """

    only: Tree | None = None
    without: Tree | None = None
    wants_members: bool = False
    wants_groups: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether resources are returned as they are."""
        return self.only is None and self.without is None

    def apply(self, resource: Document) -> Document:
        """Return the part of ``resource`` that is to be returned; ``resource`` is not changed."""
        if self.only is not None:
            resource = _keep(resource, self.only)
        if self.without is not None:
            resource = _drop(resource, self.without)
        return resource


def compile_projection(
    resource_type_name: str, attributes: Names, excluded: Names, registry: SchemaRegistry
) -> Projection:
    """Return the projection that a request asks for; InvalidValue if it gives both parameters.

    Unknown names are ignored. ``emails[type eq "work"]``, which Microsoft's collection sends and the RFC does not know,
    is read as ``emails``. The URN of an extension is all of it, except what must be named itself (returned "request").
    """
    wanted, unwanted = _given(attributes, excluded)
    model = registry.model(resource_type_name)
    named = {keys for name in wanted for keys in _key_paths(name, model)}
    # What is named, and what a named part belongs to.
    asked = {keys[:length] for keys in named for length in range(1, len(keys) + 1)}
    hidden = [keys for keys, returned in model.returned.items() if _is_hidden(keys, returned, asked)]
    only = None
    if wanted:
        always = [keys for keys, returned in model.returned.items() if returned is Returned.ALWAYS]
        only = _tree(named)
        for keys in always:
            _keep_always(only, keys, model)
    dropped = [keys for name in unwanted for path in _key_paths(name, model) for keys in _without_always(path, model)]
    without = _tree([*hidden, *dropped]) or None
    return Projection(
        only,
        without,
        wants_members=model.has_members and _has(MEMBERS, only, without),
        wants_groups=GROUPS in model.attributes and _has(GROUPS, only, without),
    )


def _given(attributes: Names, excluded: Names) -> tuple[list[str], list[str]]:
    wanted, unwanted = _split(attributes), _split(excluded)
    if wanted and unwanted:
        raise InvalidValue("attributes and excludedAttributes cannot be given together")
    return wanted, unwanted


def _split(names: Names) -> list[str]:
    if not names:
        return []
    text = names if isinstance(names, str) else ",".join(names)
    return list(dict.fromkeys(name for part in _SELECTION.sub("", text).split(",") if (name := part.strip())))


def _key_paths(name: str, model: ResourceModel) -> list[Keys]:
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


def _is_hidden(keys: Keys, returned: Returned, asked: set[Keys]) -> bool:
    """Whether an attribute stays out of the answer: "never", or "request" and neither it nor a part of it is named."""
    if returned is Returned.REQUEST:
        return keys not in asked
    return returned is Returned.NEVER


def _keep_always(only: Tree, keys: Keys, model: ResourceModel) -> None:
    """Add what is always returned to what is kept. A sub-attribute is part of its parent, if that is kept."""
    is_sub = len(keys) - (keys[0] in model.extension_attributes) == 2
    node: Tree | None = only
    for key in keys[:-1] if is_sub else ():
        node = node.get(key, {}) if node is not None else None
    if node is None or (is_sub and not node):
        return
    _insert(only, keys)


def _without_always(keys: Keys, model: ResourceModel) -> list[Keys]:
    """Return what excluding ``keys`` excludes: everything below that is not always returned."""
    if model.returned.get(keys) is Returned.ALWAYS:
        return []
    if len(keys) > 1 or keys[0] not in model.extension_attributes:
        # An attribute that goes takes its sub-attributes along.
        return [keys]
    below = {path for path, returned in model.returned.items() if returned is Returned.ALWAYS and _is_below(path, keys)}
    if not below:
        return [keys]
    urn = keys[0]
    names = {attribute.name for attribute in model.extension_attributes[urn].values()}
    return [(urn, name) for name in sorted(names) if (urn, name) not in below]


def _is_below(keys: Keys, above: Keys) -> bool:
    return len(keys) > len(above) and keys[: len(above)] == above


def _tree(paths: Iterable[Keys]) -> Tree:
    root: Tree = {}
    for keys in paths:
        _insert(root, keys)
    return root


def _insert(root: Tree, keys: Keys) -> None:
    node = root
    for key in keys[:-1]:
        below = node.setdefault(key, {})
        if below is None:
            return
        node = below
    node[keys[-1]] = None


def _has(name: str, only: Tree | None, without: Tree | None) -> bool:
    """Whether a top-level attribute is part of the answer. Without some sub-attribute, it still is."""
    is_kept = only is None or name in only
    return is_kept and (without is None or without.get(name, {}) is not None)


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
