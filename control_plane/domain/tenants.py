"""A tenant: one customer."""

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import TenantId


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. Every row belongs to exactly one."""

    id: TenantId
    display_name: str
    created_at: datetime
