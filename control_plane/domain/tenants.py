"""A tenant: one customer, its identity provider, and where it departs from that provider's preset."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import IntEnum

from control_plane.domain.ids import TenantId
from control_plane.scim.compatibility import Compatibility, effective
from control_plane.scim.limits import MAX_BULK_BYTES, MAX_BULK_OPERATIONS


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


class TenantState(IntEnum):
    """Whether a tenant is served; the values are those of the wire and of the database."""

    ACTIVE = 1
    SUSPENDED = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may use; the meanings stand in tenancy.proto. ``max_users`` 0: as many as there are."""

    requests_per_second: int = 1_000
    burst: int = 2_000
    max_body_bytes: int = 1024 * 1024
    max_bulk_operations: int = MAX_BULK_OPERATIONS
    max_bulk_bytes: int = MAX_BULK_BYTES
    max_users: int = 0
    max_active_tokens: int = 2


LIMITS = tuple(each.name for each in fields(Limits))


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. Every row belongs to exactly one.

    ``overrides`` are the switches that differ from the preset, ``limits`` the limits that differ from the
    installation's, both by name. A deleted tenant keeps ``suspended_at``: restored, it is as it was.
    """

    id: TenantId
    display_name: str
    created_at: datetime
    identity_provider: IdentityProvider = IdentityProvider.GENERIC
    overrides: Mapping[str, bool] = field(default_factory=dict)
    state: TenantState = TenantState.ACTIVE
    suspended_at: datetime | None = None
    suspend_reason: str = ""
    deleted_at: datetime | None = None
    purge_at: datetime | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    audit_retention_days: int = 400

    def effective_limits(self, installation: Limits) -> Limits:
        """Return all limits as they are in force; names that a newer version stored are left out."""
        return replace(installation, **{name: value for name, value in self.limits.items() if name in LIMITS})

    @property
    def compatibility(self) -> Compatibility:
        """All switches as they are in force."""
        return effective(self.identity_provider.preset, self.overrides)
