"""What the requests of one tenant are judged by: its schemas and its compatibility."""

from dataclasses import dataclass

from control_plane.scim.compatibility import GENERIC, Compatibility
from control_plane.scim.registry import SchemaRegistry, default_registry


@dataclass(frozen=True, slots=True)
class ScimRules:
    """Immutable; a tenant whose schemas or switches change gets new ones."""

    registry: SchemaRegistry
    compatibility: Compatibility = GENERIC


DEFAULT_RULES = ScimRules(default_registry())
