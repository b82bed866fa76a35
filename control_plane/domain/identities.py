"""Who calls the gRPC API, as proved by a token, an API key, an OIDC token or a certificate."""

from dataclasses import dataclass
from enum import Enum

from control_plane.domain.audit import ActorType
from control_plane.domain.ids import TenantId


class Role(Enum):
    """What a caller is; the policy table says what each role may do."""

    # Operators by role; whoever has the admin token is an owner too.
    OWNER = "owner"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    # An internal service: may do what its API key's scopes say, for the tenants that the key names.
    SERVICE = "service"
    # The other processes of Muster.
    GATEWAY = "gateway"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. ``id`` is how the audit trail names it; ``name`` is what people call it."""

    role: Role
    actor_type: ActorType
    id: str
    name: str = ""
    # For a service: what it may do, and for whom; None: for every tenant.
    scopes: frozenset[str] = frozenset()
    tenants: frozenset[TenantId] | None = None
    # The SPIFFE id of the certificate that the connection was made with; "" without mutual TLS.
    peer: str = ""
