"""Who calls the gRPC API: decides from the bearer token, the certificate and the address of a call."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.domain.audit import ActorType
from control_plane.domain.identities import Identity, Role
from control_plane.domain.ids import SYSTEM_TENANT
from control_plane.domain.peers import Peer, PeerKind
from control_plane.runtime.settings import SettingsError
from control_plane.services.key_checks import ApiKeyChecks, CredentialRefused
from control_plane.services.oidc import JwtRefused, OidcVerifier, looks_like_jwt
from control_plane.storage import operators
from control_plane.storage.engine import Storage

MIN_TOKEN_LENGTH = 32
MAX_BEARER_LENGTH = 8192
ADMIN = Identity(Role.OWNER, ActorType.ADMIN, "admin", "admin token")
_PROCESSES = {
    PeerKind.GATEWAY: (Role.GATEWAY, ActorType.SYSTEM),
    PeerKind.WORKER: (Role.WORKER, ActorType.WORKER),
}


@dataclass(frozen=True, slots=True)
class Presented:
    """What a call shows: its bearer token ("" if none), its certificate's owner, and the address it comes from."""

    bearer: str
    peer: Peer | None
    address: str


class FixedTokens:
    """The bearer tokens that the settings give, by role; "" turns a role's token off."""

    def __init__(self, tokens: Mapping[Role, str]) -> None:
        """SettingsError names a token that is too short, or given twice."""
        given = {role: token for role, token in tokens.items() if token}
        for role, token in given.items():
            if len(token) < MIN_TOKEN_LENGTH:
                raise SettingsError(f"the {_NAMES[role]} token needs at least {MIN_TOKEN_LENGTH} characters")
        if len(set(given.values())) < len(given):
            raise SettingsError("the admin, gateway and worker tokens must differ: each is for one role")
        # Digests, so that the comparison takes the same time for every length.
        self._digests = {role: hashlib.sha256(token.encode()).digest() for role, token in given.items()}

    def role_of(self, bearer: str) -> Role | None:
        """Return whose token ``bearer`` is; None if it is none of them."""
        presented, found = hashlib.sha256(bearer.encode()).digest(), None
        for role, digest in self._digests.items():
            if hmac.compare_digest(presented, digest):
                found = role
        return found


_NAMES = {Role.OWNER: "admin", Role.GATEWAY: "gateway", Role.WORKER: "worker"}


class Authenticator:
    """Finds the identity behind what a call shows."""

    def __init__(self, storage: Storage, fixed: FixedTokens, keys: ApiKeyChecks, oidc: OidcVerifier | None) -> None:
        """``oidc`` is None unless a provider is configured."""
        self._storage, self._fixed, self._keys, self._oidc = storage, fixed, keys, oidc

    async def identify(self, presented: Presented) -> Identity:
        """Return who calls; CredentialRefused if nothing that was shown proves anything.

        A certificate of a gateway or a worker is its credential. One of an administrator only opens the connection:
        a bearer token says who it is.
        """
        peer, bearer = presented.peer, presented.bearer
        fixed = self._fixed.role_of(bearer) if bearer else None
        if peer is not None and peer.kind is not PeerKind.ADMIN:
            role, actor = _PROCESSES[peer.kind]
            if bearer and fixed is not role:
                raise CredentialRefused("the token is not the certificate's")
            return Identity(role, actor, peer.name, peer=peer.spiffe_id)
        spiffe_id = peer.spiffe_id if peer else ""
        if fixed is not None:
            return _fixed_identity(fixed, spiffe_id)
        if not bearer or len(bearer) > MAX_BEARER_LENGTH:
            raise CredentialRefused("no credential")
        if looks_like_jwt(bearer):
            return await self._of_jwt(bearer, spiffe_id)
        return await self._keys.identify(bearer, presented.address, spiffe_id)

    async def _of_jwt(self, bearer: str, spiffe_id: str) -> Identity:
        """Return the operator whom an OIDC token stands for: by issuer and subject, never by an e-mail address."""
        if self._oidc is None:
            raise CredentialRefused("OIDC is not configured")
        try:
            subject = await self._oidc.verify(bearer)
        except JwtRefused as err:
            raise CredentialRefused(f"OIDC: {err.cause}") from err
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            operator = await operators.find_by_oidc(tx, subject)
        if operator is None:
            raise CredentialRefused("OIDC: nobody's subject")
        if operator.disabled_at is not None:
            raise CredentialRefused("disabled")
        name = operator.display_name
        return Identity(operator.role.role, ActorType.OPERATOR, str(operator.id), name, peer=spiffe_id)


def _fixed_identity(role: Role, spiffe_id: str) -> Identity:
    match role:
        case Role.OWNER:
            return Identity(ADMIN.role, ADMIN.actor_type, ADMIN.id, ADMIN.name, peer=spiffe_id)
        case Role.GATEWAY | Role.WORKER if not spiffe_id:
            actor = ActorType.WORKER if role is Role.WORKER else ActorType.SYSTEM
            return Identity(role, actor, role.value)
        case _:
            raise CredentialRefused("an administrator's certificate with a process's token")
