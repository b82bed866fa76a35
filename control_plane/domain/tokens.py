"""SCIM bearer tokens: PBKDF2-SHA256 at rest, when one works, and what a rotation makes of it.

The form of their text is in ``scim/bearer.py``, which the gateway shares.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from control_plane.domain.errors import FailedPrecondition, InvalidArgument, TokenRefused
from control_plane.domain.ids import TenantId, TokenId
from control_plane.domain.tenants import Limits, Tenant, TenantState
from control_plane.scim.bearer import SCIM_ENVS, Presented, env_of, key_id_of
from control_plane.scim.networks import Networks, normal_network

SALT_BYTES = 16
ALGORITHM = "pbkdf2-sha256"
DEFAULT_TTL = timedelta(days=365)
DEFAULT_OVERLAP = timedelta(hours=24)


class Scope(IntEnum):
    """What a token may do; the values are those of the wire."""

    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Token:
    """A token as stored: everything but the secret."""

    id: TokenId
    tenant: TenantId
    key_id: str
    label: str
    scopes: tuple[Scope, ...]
    hash: str  # algorithm$iterations$salt$digest
    created_at: datetime
    ttl_s: int | None  # the life it was made for; a successor gets the same, whatever a rotation made of expires_at
    expires_at: datetime | None
    revoked_at: datetime | None
    allowed_networks: tuple[str, ...] = ()
    last_used_at: datetime | None = None
    last_used_address: str = ""
    last_used_agent: str = ""
    replaces: TokenId | None = None
    creator: str = ""

    def works(self, now: datetime) -> bool:
        """Tell whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


@dataclass(frozen=True, slots=True)
class Verified:
    """A token as looked up by its key id, with what a gateway has to know of its tenant."""

    token: Token
    tenant_state: TenantState
    limits: Limits


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new token is asked to be."""

    label: str = ""
    scopes: tuple[Scope, ...] = (Scope.READ, Scope.WRITE)
    ttl_s: int | None = None  # None: it never expires
    allowed_networks: tuple[str, ...] = ()
    replaces: TokenId | None = None


@dataclass(frozen=True, slots=True)
class Overlap:
    """How long a rotated token goes on working; ``until_revoked``: as long as if it had not been rotated."""

    span: timedelta = DEFAULT_OVERLAP
    until_revoked: bool = False


def parse(text: str) -> Presented:
    """Return the parts of a SCIM token; TokenRefused("malformed") if the form or the checksum is wrong."""
    key_id = key_id_of(text)
    if key_id is None or env_of(text) not in SCIM_ENVS:
        raise TokenRefused("malformed")
    return Presented(key_id, text)


def hash_token(text: str, salt: bytes, iterations: int) -> str:
    """Return what is stored. Costs about 0.35 us an iteration: never call it on the event loop."""
    digest = hashlib.pbkdf2_hmac("sha256", text.encode(), salt, iterations)
    return f"{ALGORITHM}${iterations}${salt.hex()}${digest.hex()}"


def matches(text: str, stored: str) -> bool:
    """Tell, in constant time, whether ``text`` is the token behind ``stored``. As slow as :func:`hash_token`."""
    _, _, salt, _ = stored.split("$")
    return hmac.compare_digest(hash_token(text, bytes.fromhex(salt), iterations_of(stored)), stored)


def iterations_of(stored: str) -> int:
    """Return how often a stored hash was iterated; ValueError for another algorithm."""
    algorithm, iterations, _, _ = stored.split("$")
    if algorithm != ALGORITHM:
        raise ValueError(f"unknown token hash {algorithm}")
    return int(iterations)


def refuse_unless_valid(found: Verified, address: str, now: datetime) -> None:
    """Raise TokenRefused if the token is revoked, expired, its tenant is deleted, or ``address`` is not allowed."""
    token = found.token
    if token.revoked_at is not None:
        raise TokenRefused("revoked", str(token.tenant))
    if not token.works(now):
        raise TokenRefused("expired", str(token.tenant))
    if found.tenant_state is TenantState.DELETED:
        raise TokenRefused("tenant_deleted", str(token.tenant))
    if not Networks.parse(token.allowed_networks).covers(address):
        raise TokenRefused("network", str(token.tenant))


def normal_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return an allow list as it is stored, each network once; InvalidArgument names the first that is none."""
    networks: list[str] = []
    for text in texts:
        try:
            networks.append(normal_network(text))
        except ValueError as err:
            raise InvalidArgument("allowed_networks", str(err)) from err
    return tuple(dict.fromkeys(networks))


def refuse_beyond_limit(working: Iterable[Token], tenant: Tenant, limit: int) -> None:
    """Raise FailedPrecondition if one token more than ``working`` would be too many for the tenant."""
    key_ids = [token.key_id for token in working]
    if len(key_ids) >= limit:
        raise FailedPrecondition(
            f"{tenant.display_name} may have {limit} active tokens (limits.max_active_tokens) and has"
            f" {len(key_ids)}: {', '.join(key_ids)}; revoke one first, or rotate one without overlap"
        )


def refuse_unless_rotatable(old: Token, successors: Sequence[Token], now: datetime) -> None:
    """Raise FailedPrecondition if ``old`` works no more, or one of its unrevoked ``successors`` was used already.

    One that an earlier rotation ended may be rotated again, as long as it would work without that rotation: the
    answer with its successor may have been lost.
    """
    natural = _natural_end(old)
    is_ended = old.revoked_at is not None or (natural is not None and natural <= now)
    if is_ended or not (old.works(now) or successors):
        raise FailedPrecondition("a token that is revoked or expired cannot be rotated: create one")
    for successor in successors:
        if successor.last_used_at is not None:
            raise FailedPrecondition(
                f"token {old.key_id} was rotated already, and its successor {successor.key_id} was used at"
                f" {successor.last_used_at:%Y-%m-%d %H:%M:%S} UTC: rotate that one, or revoke it first"
            )


def end_after(old: Token, overlap: Overlap, now: datetime) -> datetime | None:
    """Return when a token that is rotated now ends: after the overlap, and never later than without a rotation.

    A rotation that is asked for again counts from now, whatever an earlier one made of ``expires_at``; but a token that
    works no more does not come back.
    """
    natural = _natural_end(old)
    if not old.works(now):
        return old.expires_at
    if overlap.until_revoked:
        return natural
    ends = now + overlap.span
    return ends if natural is None else min(ends, natural)


def _natural_end(token: Token) -> datetime | None:
    """Return when a token ends that is neither rotated nor revoked; None: never."""
    return None if token.ttl_s is None else token.created_at + timedelta(seconds=token.ttl_s)
