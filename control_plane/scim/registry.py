"""The schema registry: a tenant's schemas and resource types, and the look-up of attributes by path."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.core_schemas import COMMON_ATTRIBUTES, DEFAULT_RESOURCE_TYPES, DEFAULT_SCHEMAS
from control_plane.scim.quirks import CORE_URN_ALIASES, EXTENSION_URN_ALIASES
from control_plane.scim.schema import (
    Attribute,
    Document,
    Mutability,
    ResourceType,
    Returned,
    Schema,
    Uniqueness,
    index_by_name,
)
from control_plane.scim.schema_definition import Extension

MEMBERS = "members"
GROUPS = "groups"

# The keys that lead to a value in a resource: of the extension, the attribute, the sub-attribute.
Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to. ``extension`` is the URN of the object that holds it, None for the resource itself."""

    extension: str | None
    attribute: Attribute
    sub: Attribute | None = None

    @property
    def is_members(self) -> bool:
        """Whether this is the members of a group, which are stored apart and never part of a document."""
        return self.extension is None and self.attribute.name == MEMBERS


@dataclass(frozen=True, slots=True)
class ResourceModel:
    """One resource type with its schemas, indexed. All indexes hold names as written and in lower case.

    ``attributes`` are the common and the core ones; ``document_attributes`` are these without members. ``returned`` has
    what is not returned by default, ``immutable`` what keeps its value, ``unique`` what an extension (by its URN)
    declares unique, ``required_parts`` what must be there if what it is part of is: an extension, a complex value.
    """

    type: ResourceType
    core: Schema
    extensions: tuple[Schema, ...]
    attributes: Mapping[str, Attribute] = field(init=False, repr=False)
    document_attributes: Mapping[str, Attribute] = field(init=False, repr=False)
    extension_attributes: Mapping[str, Mapping[str, Attribute]] = field(init=False, repr=False)
    required: tuple[Attribute, ...] = field(init=False, repr=False)
    required_parts: tuple[Keys, ...] = field(init=False, repr=False)
    returned: Mapping[Keys, Returned] = field(init=False, repr=False)
    immutable: tuple[Keys, ...] = field(init=False, repr=False)
    unique: tuple[tuple[str, Attribute], ...] = field(init=False, repr=False)
    _urns: Mapping[str, Schema] = field(init=False, repr=False)
    _unprefixed: Mapping[str, Target] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        everything = COMMON_ATTRIBUTES + self.core.attributes
        object.__setattr__(self, "attributes", index_by_name(everything))
        in_document = tuple(attribute for attribute in everything if attribute.name != MEMBERS)
        object.__setattr__(self, "document_attributes", index_by_name(in_document))
        indexes = {schema.id: index_by_name(schema.attributes) for schema in self.extensions}
        object.__setattr__(self, "extension_attributes", indexes)
        object.__setattr__(self, "required", tuple(a for a in self.core.attributes if a.required))
        parts = tuple(keys for keys, a in self._walk() if a.required and len(keys) > 1)
        object.__setattr__(self, "required_parts", parts)
        # What is writeOnly is never stored, so that nothing of it can be returned.
        special = {keys: a.returned for keys, a in self._walk() if a.mutability is not Mutability.WRITE_ONLY}
        unusual = {keys: returned for keys, returned in special.items() if returned is not Returned.DEFAULT}
        object.__setattr__(self, "returned", unusual)
        immutable = tuple(keys for keys, a in self._walk() if a.mutability is Mutability.IMMUTABLE)
        object.__setattr__(self, "immutable", tuple(keys for keys in immutable if keys[0] != MEMBERS))
        unique = [(s.id, a) for s in self.extensions for a in s.attributes if a.uniqueness is Uniqueness.SERVER]
        object.__setattr__(self, "unique", tuple(unique))
        object.__setattr__(self, "_urns", self._index_urns())
        object.__setattr__(self, "_unprefixed", self._index_unprefixed())

    @property
    def has_members(self) -> bool:
        """Whether this is a group."""
        return MEMBERS in self.attributes

    def schema_of(self, urn: str) -> Schema | None:
        """Return the core or extension schema whose URN (or known misspelling) this is, in any case, or None."""
        return self._urns.get(urn) or self._urns.get(urn.lower())

    def attribute(self, name: str, extension: str | None = None) -> Attribute | None:
        """Return the attribute ``name`` of the resource itself or of one extension, or None."""
        index = self.attributes if extension is None else self.extension_attributes[extension]
        return index.get(name) or index.get(name.lower())

    def resolve(self, path: AttributePath) -> Target | None:
        """Return what ``path`` leads to, or None if this type has no such attribute.

        A name without URN that the core lacks is looked up in the extensions, if exactly one has it: Entra and others
        write ``manager`` and ``department`` bare.
        """
        if path.urn is None:
            found = self._unprefixed.get(path.name) or self._unprefixed.get(path.name.lower())
        else:
            found = self._qualified(path.urn, path.name)
        if found is None or path.sub is None:
            return found
        sub = found.attribute.sub(path.sub)
        return Target(found.extension, found.attribute, sub) if sub is not None else None

    def schemas_in(self, document: Document) -> list[str]:
        """Return the canonical "schemas" of ``document``: the core first, then each extension that has values."""
        return [self.core.id, *(schema.id for schema in self.extensions if document.get(schema.id))]

    def spell(self, keys: Keys) -> str:
        """Return the path that leads to ``keys``, for messages."""
        if keys[0] in self.extension_attributes:
            return ":".join((keys[0], ".".join(keys[1:]))) if keys[1:] else keys[0]
        return ".".join(keys)

    def _walk(self) -> Iterator[tuple[Keys, Attribute]]:
        """Yield every attribute and sub-attribute under its keys."""
        holders: list[tuple[Keys, Sequence[Attribute]]] = [((), COMMON_ATTRIBUTES + self.core.attributes)]
        holders += [((schema.id,), schema.attributes) for schema in self.extensions]
        for holder, attributes in holders:
            for attribute in attributes:
                keys = (*holder, attribute.name)
                yield keys, attribute
                yield from (((*keys, sub.name), sub) for sub in attribute.sub_attributes)

    def _qualified(self, urn: str, name: str) -> Target | None:
        schema = self.schema_of(urn)
        if schema is None:
            return None
        extension = None if schema is self.core else schema.id
        attribute = self.attribute(name, extension)
        return Target(extension, attribute) if attribute is not None else None

    def _index_urns(self) -> dict[str, Schema]:
        urns = {schema.id: schema for schema in (self.core, *self.extensions)}
        urns |= dict.fromkeys(CORE_URN_ALIASES, self.core)
        urns |= {alias: urns[urn] for alias, urn in EXTENSION_URN_ALIASES.items() if urn in urns}
        return {urn.lower(): schema for urn, schema in urns.items()} | urns

    def _index_unprefixed(self) -> dict[str, Target]:
        """The resource's own names win, then those of the standard extensions, then those that one extension has.

        So a tenant's extension never changes what a bare name has meant before.
        """
        found: dict[str, Target] = {}
        names = Counter(name for index in self.extension_attributes.values() for name in index)
        standard = [schema.id for schema in DEFAULT_SCHEMAS]
        # The standard ones last, so that they win.
        for urn in sorted(self.extension_attributes, key=lambda urn: urn in standard):
            index = self.extension_attributes[urn]
            known = {name: a for name, a in index.items() if urn in standard or names[name] == 1}
            found |= {name: Target(urn, attribute) for name, attribute in known.items()}
        return found | {name: Target(None, attribute) for name, attribute in self.attributes.items()}


class SchemaRegistry:
    """The schemas and resource types of a tenant; immutable once built."""

    def __init__(self, schemas: Iterable[Schema], resource_types: Iterable[ResourceType]) -> None:
        self.schemas = tuple(schemas)
        self.resource_types = tuple(resource_types)
        self._by_urn = {schema.id.lower(): schema for schema in self.schemas}
        self._models = {
            kind.name: ResourceModel(
                kind, self._by_urn[kind.schema.lower()], tuple(self._by_urn[urn.lower()] for urn in kind.extensions)
            )
            for kind in self.resource_types
        }

    def schema(self, urn: str) -> Schema | None:
        """Return the schema ``urn`` in any case, or None."""
        return self._by_urn.get(urn.lower())

    def model(self, resource_type_name: str) -> ResourceModel:
        """Return the indexed resource type; KeyError for a name that no caller should have."""
        return self._models[resource_type_name]

    def resolve(self, resource_type_name: str, path: AttributePath) -> Target | None:
        """Return what ``path`` leads to in a resource of this type, or None."""
        return self._models[resource_type_name].resolve(path)


_DEFAULT = SchemaRegistry(DEFAULT_SCHEMAS, DEFAULT_RESOURCE_TYPES)


def default_registry() -> SchemaRegistry:
    """Return the registry of this release: User with the enterprise extension, and Group. One shared instance."""
    return _DEFAULT


def extended_registry(extensions: Sequence[Extension]) -> SchemaRegistry:
    """Return the default registry and a tenant's ``extensions``, in their order.

    They must have passed :func:`schema_definition.check_extension`. Without any, it is the shared instance.
    """
    if not extensions:
        return _DEFAULT
    kinds = [
        replace(kind, extensions=(*kind.extensions, *(e.schema.id for e in extensions if e.resource_type == kind.name)))
        for kind in DEFAULT_RESOURCE_TYPES
    ]
    return SchemaRegistry((*DEFAULT_SCHEMAS, *(extension.schema for extension in extensions)), kinds)


def with_unique_group_names(registry: SchemaRegistry, on: bool) -> SchemaRegistry:
    """Return ``registry`` where a Group's displayName is unique or not, so that /Schemas tells the truth.

    Tenants without extensions, most of them, share the same two registries.
    """
    if registry in (_DEFAULT, _DEFAULT_UNIQUE):
        return _DEFAULT_UNIQUE if on else _DEFAULT
    return _uniquely_named(registry, on)


def _uniquely_named(registry: SchemaRegistry, on: bool) -> SchemaRegistry:
    uniqueness = Uniqueness.SERVER if on else Uniqueness.NONE
    group = registry.model("Group").core
    names = tuple(replace(a, uniqueness=uniqueness) if a.name == "displayName" else a for a in group.attributes)
    if names == group.attributes:
        return registry
    changed = replace(group, attributes=names)
    schemas = (changed if schema is group else schema for schema in registry.schemas)
    return SchemaRegistry(schemas, registry.resource_types)


_DEFAULT_UNIQUE = _uniquely_named(_DEFAULT, True)
