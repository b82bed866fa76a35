"""The schema registry: a deployment's schemas and resource types, and the look-up of attributes by path."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.core_schemas import COMMON_ATTRIBUTES, DEFAULT_RESOURCE_TYPES, DEFAULT_SCHEMAS
from control_plane.scim.quirks import CORE_URN_ALIASES, EXTENSION_URN_ALIASES
from control_plane.scim.schema import Attribute, Document, ResourceType, Schema, index_by_name

MEMBERS = "members"


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

    ``attributes`` are the common and the core ones; ``document_attributes`` are these without members.
    """

    type: ResourceType
    core: Schema
    extensions: tuple[Schema, ...]
    attributes: Mapping[str, Attribute] = field(init=False, repr=False)
    document_attributes: Mapping[str, Attribute] = field(init=False, repr=False)
    extension_attributes: Mapping[str, Mapping[str, Attribute]] = field(init=False, repr=False)
    required: tuple[Attribute, ...] = field(init=False, repr=False)
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
        found: dict[str, Target] = {}
        names = [name for index in self.extension_attributes.values() for name in index]
        for urn, index in self.extension_attributes.items():
            found |= {name: Target(urn, attribute) for name, attribute in index.items() if names.count(name) == 1}
        return found | {name: Target(None, attribute) for name, attribute in self.attributes.items()}


class SchemaRegistry:
    """The schemas and resource types of a deployment; immutable once built."""

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
