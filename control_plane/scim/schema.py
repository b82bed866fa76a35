"""What a schema is: attributes with all characteristics of RFC 7643 section 7, schemas, resource types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# A SCIM resource as parsed JSON: canonical attribute names, no nulls.
Document = dict[str, Any]


class AttributeType(StrEnum):
    """The data types of RFC 7643 section 2.3."""

    STRING = "string"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    INTEGER = "integer"
    DATE_TIME = "dateTime"
    BINARY = "binary"
    REFERENCE = "reference"
    COMPLEX = "complex"


class Mutability(StrEnum):
    """Who may write an attribute, and when."""

    READ_ONLY = "readOnly"
    READ_WRITE = "readWrite"
    IMMUTABLE = "immutable"
    WRITE_ONLY = "writeOnly"


class Returned(StrEnum):
    """When an attribute is part of an answer."""

    ALWAYS = "always"
    NEVER = "never"
    DEFAULT = "default"
    REQUEST = "request"


class Uniqueness(StrEnum):
    """Among whom a value must be unique."""

    NONE = "none"
    SERVER = "server"
    GLOBAL = "global"


def index_by_name(attributes: "tuple[Attribute, ...]") -> "dict[str, Attribute]":
    """Return the attributes under their names as written and in lower case.

    Names are case-insensitive (RFC 7643 section 2.1). Nearly every sender writes them as the RFC does, so a look-up
    tries the text as it stands first, and in lower case only if that fails.
    """
    return {attribute.name.lower(): attribute for attribute in attributes} | {a.name: a for a in attributes}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute or sub-attribute, with the defaults of RFC 7643 section 2.2.

    ``advertised`` is ours: what is False is understood in requests, so that it can be refused or dropped for the right
    reason, but it is not part of ``/Schemas``.
    """

    name: str
    type: AttributeType = AttributeType.STRING
    description: str = ""
    multi_valued: bool = False
    required: bool = False
    canonical_values: tuple[str, ...] = ()
    case_exact: bool = False
    mutability: Mutability = Mutability.READ_WRITE
    returned: Returned = Returned.DEFAULT
    uniqueness: Uniqueness = Uniqueness.NONE
    reference_types: tuple[str, ...] = ()
    sub_attributes: "tuple[Attribute, ...]" = ()
    advertised: bool = True
    subs: "Mapping[str, Attribute]" = field(init=False, repr=False, compare=False)
    is_stored: bool = field(init=False, repr=False, compare=False)
    is_text: bool = field(init=False, repr=False, compare=False)
    is_complex: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # RFC 7643 sections 2.3.6 and 2.3.7: binaries and references are case exact, whatever a definition says.
        if self.type in (AttributeType.REFERENCE, AttributeType.BINARY):
            object.__setattr__(self, "case_exact", True)
        elif self.type is not AttributeType.STRING:
            # Said of a dateTime it means nothing (see has_case): co, sw and ew ignore case in all of them.
            object.__setattr__(self, "case_exact", False)
        # Derived once, since the hot path asks for them once per value.
        object.__setattr__(self, "subs", index_by_name(self.sub_attributes))
        stored = self.mutability in (Mutability.READ_WRITE, Mutability.IMMUTABLE)
        object.__setattr__(self, "is_stored", stored)
        text = self.type in (AttributeType.STRING, AttributeType.REFERENCE, AttributeType.BINARY)
        object.__setattr__(self, "is_text", text and not self.multi_valued)
        object.__setattr__(self, "is_complex", self.type is AttributeType.COMPLEX)

    @property
    def has_case(self) -> bool:
        """Whether ``case_exact`` means something for the type."""
        return self.type in (AttributeType.STRING, AttributeType.REFERENCE, AttributeType.BINARY)

    def sub(self, name: str) -> "Attribute | None":
        """Return the sub-attribute ``name`` in any case, or None."""
        return self.subs.get(name) or self.subs.get(name.lower())


@dataclass(frozen=True, slots=True)
class Schema:
    """A named set of attributes; ``id`` is its URN."""

    id: str
    name: str
    description: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of resource: its endpoint, its core schema, and the extensions it may carry (URNs, none required)."""

    name: str
    endpoint: str
    description: str
    schema: str
    extensions: tuple[str, ...] = ()
