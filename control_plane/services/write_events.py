"""What the audit trail says of writes to the directory: names and counts for all to see, a person's values sealed."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import Document, NewResource, ResourceType, StoredResource
from control_plane.scim.projection import Projection, compile_projection
from control_plane.scim.rules import ScimRules
from control_plane.services.caller import Deed

# How much of a caller's unknown attribute names an event keeps.
MAX_IGNORED, MAX_NAME = 20, 100
# A value with more JSON than this is told by its length, and all of them with more than that by their names.
MAX_VALUE_BYTES, MAX_PERSONAL_BYTES, MAX_CHANGES = 1024, 8192, 100
Resource = NewResource | StoredResource


@dataclass(frozen=True, slots=True)
class Change:
    """A write that took effect: the document before and after (None: there was, or is, none), and what else to say."""

    verb: str
    resource: Resource
    before: Document | None = None
    after: Document | None = None
    ignored: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


def deed(rules: ScimRules, change: Change) -> Deed:
    """Return what the trail says of ``change``."""
    resource = change.resource
    noun, details = resource.type.noun, dict[str, Any]()
    if resource.type is ResourceType.GROUP and resource.display_name is not None:
        details["displayName"] = resource.display_name[:MAX_NAME]
    if change.after is not None:
        details["attributes"] = changed_names(change.before or {}, change.after)
    if change.ignored:
        details["ignored"] = [name[:MAX_NAME] for name in change.ignored[:MAX_IGNORED]]
    details |= change.details
    return Deed(f"{noun}.{change.verb}", noun, str(resource.id), details, *_personal(rules, change))


def changed_names(before: Document, after: Document) -> list[str]:
    """Return the names of attributes that differ."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _personal(rules: ScimRules, change: Change) -> tuple[ResourceId, dict[str, Any]] | tuple[()]:
    """Return whose the values are, and the values; nothing for a group, which is nobody."""
    resource = change.resource
    if resource.type is not ResourceType.USER:
        return ()
    names = {"userName": resource.user_name, "displayName": resource.display_name}
    personal = {name: _short(value) for name, value in names.items() if value is not None}
    changes = _changes(rules, change.before or {}, change.after) if change.after is not None else {}
    if changes:
        personal["changes"] = changes
        if len(orjson.dumps(personal)) > MAX_PERSONAL_BYTES:
            personal["changes"] = [name[:MAX_NAME] for name in sorted(changes)[:MAX_CHANGES]]
    return resource.id, personal


def _changes(rules: ScimRules, before: Document, after: Document) -> dict[str, Any]:
    """Return old and new value of each attribute that differs, by its name."""
    shown = compile_projection(ResourceType.USER.scim_name, None, None, rules.registry)
    extensions = rules.registry.model(ResourceType.USER.scim_name).extension_attributes
    old, new = (dict(_values(shown, extensions, document)) for document in (before, after))
    return {
        name: {key: _short(side[name]) for key, side in (("old", old), ("new", new)) if name in side}
        for name in old.keys() | new.keys()
        if old.get(name) != new.get(name)
    }


def _values(shown: Projection, extensions: Container[str], document: Document) -> Iterator[tuple[str, Any]]:
    """Yield each attribute with its value, those of extensions too; what is never shown to anybody stays out."""
    for key, value in shown.apply(document).items() if document else ():
        if key in extensions and isinstance(value, dict):
            yield from ((f"{key}:{inner}", one) for inner, one in value.items())
        elif key != "schemas":
            yield key, value


def _short(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and len(value) <= MAX_VALUE_BYTES // 6 - 1):
        return value  # at most six bytes of JSON for each character
    size = len(orjson.dumps(value))
    return value if size <= MAX_VALUE_BYTES else {"omitted_bytes": size}
