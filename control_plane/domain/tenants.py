"""A tenant: one customer, its identity provider, and where it departs from that provider's preset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from control_plane.domain.ids import TenantId
from control_plane.scim.compatibility import Compatibility, effective


class IdentityProvider(IntEnum):
    """Who pushes; the values are those of the wire and of the database."""

    GENERIC = 1
    OKTA = 2
    ENTRA = 3
    ONELOGIN = 4
    PING = 5
    GOOGLE = 6
    JUMPCLOUD = 7
    RIPPLING = 8

    @property
    def preset(self) -> str:
        """The name of its preset in ``scim.compatibility``, also what people and the audit trail call it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. Every row belongs to exactly one. ``overrides`` are the switches that differ from the preset."""

    id: TenantId
    display_name: str
    created_at: datetime
    identity_provider: IdentityProvider = IdentityProvider.GENERIC
    overrides: Mapping[str, bool] = field(default_factory=dict)

    @property
    def compatibility(self) -> Compatibility:
        """All switches as they are in force."""
        return effective(self.identity_provider.preset, self.overrides)
