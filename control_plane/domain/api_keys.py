"""API keys of operators and of internal services: bearer tokens for the gRPC admin API.

Their form is that of SCIM tokens (``scim/bearer.py``), with "op" or "svc" where those name the environment.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from control_plane.domain.ids import ApiKeyId, OperatorId, TenantId
from control_plane.scim.networks import Networks

OPERATOR_ENV, SERVICE_ENV = "op", "svc"
DEFAULT_TTL = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored: everything but the secret. Either ``operator`` owns it or ``service``, which is a name."""

    id: ApiKeyId
    key_id: str
    label: str
    hash: str  # algorithm$iterations$salt$digest
    operator: OperatorId | None
    service: str | None
    scopes: tuple[str, ...]
    tenants: tuple[TenantId, ...]
    allowed_networks: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    last_used_address: str = ""

    @property
    def env(self) -> str:
        """The word in the key's text that says whose it is."""
        return OPERATOR_ENV if self.operator is not None else SERVICE_ENV


def fault_of(key: ApiKey, now: datetime, address: str) -> str | None:
    """Return why ``key`` is refused at ``now`` from ``address``, or None: "revoked", "expired" or "network"."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return None if Networks.parse(key.allowed_networks).covers(address) else "network"
