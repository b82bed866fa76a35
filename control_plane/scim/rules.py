"""What the requests of one tenant are judged by: its schemas, its compatibility and its limits."""

from dataclasses import dataclass, field

from control_plane.scim.compatibility import GENERIC, Compatibility
from control_plane.scim.limits import BulkLimits
from control_plane.scim.registry import SchemaRegistry, default_registry


@dataclass(frozen=True, slots=True)
class ScimRules:
    """Immutable; a tenant whose schemas or switches change gets new ones."""

    registry: SchemaRegistry
    compatibility: Compatibility = GENERIC
    # 0: as many as there are.
    max_users: int = 0
    bulk: BulkLimits = field(default_factory=BulkLimits)


DEFAULT_RULES = ScimRules(default_registry())
