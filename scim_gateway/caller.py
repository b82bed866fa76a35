"""Who asks: the client, and behind its bearer token a tenant with what that may use, as the control plane said."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from control_plane.scim.limits import MAX_BULK_BYTES
from control_plane.scim.networks import Networks
from protos.tenancy.v1.tenancy_pb2 import TENANT_STATE_SUSPENDED, TenantLimits, VerifyTokenResponse


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from: the address, "" if there is none, and the User-Agent as gRPC can carry it."""

    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may use here. The defaults are for a control plane that does not say, during an upgrade."""

    requests_per_second: int = 1_000
    burst: int = 2_000
    max_body_bytes: int = 1024 * 1024
    max_bulk_bytes: int = MAX_BULK_BYTES


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified token and its tenant."""

    tenant_id: str
    token_id: str
    key_id: str
    scopes: frozenset[int]
    expires_at: datetime | None
    networks: Networks = field(default_factory=Networks)
    is_suspended: bool = False
    limits: Limits = field(default_factory=Limits)


def caller_of(answer: VerifyTokenResponse) -> Caller:
    """Return what the control plane said; ValueError for an allow list that cannot be read: nothing is let in by it."""
    return Caller(
        tenant_id=answer.tenant_id,
        token_id=answer.token_id,
        key_id=answer.key_id,
        scopes=frozenset(answer.scopes),
        expires_at=answer.expire_time.ToDatetime(UTC) if answer.HasField("expire_time") else None,
        networks=Networks.parse(answer.allowed_networks),
        is_suspended=answer.tenant_state == TENANT_STATE_SUSPENDED,
        limits=_limits(answer.limits),
    )


def _limits(said: TenantLimits) -> Limits:
    default = Limits()
    return Limits(
        # Not 0, whatever is said: nothing divides by it.
        requests_per_second=said.requests_per_second or default.requests_per_second,
        burst=said.burst or default.burst,
        max_body_bytes=said.max_body_bytes or default.max_body_bytes,
        max_bulk_bytes=said.max_bulk_bytes or default.max_bulk_bytes,
    )
