"""What gateways report of tokens: when each was last used, and which were refused.

Gateways report every refusal that they answered, whether they knew it themselves or had asked; the control plane
writes none when it is asked. So each is in the trail once, however many gateways and memories there are.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.ids import TenantId, TokenId
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, tokens
from control_plane.storage.engine import Storage
from control_plane.storage.tokens import Use

ACTION = "token.refuse"
# Audit events that one report may make for a tenant; the refusals beyond are one event more, with their number.
MAX_EVENTS = 100
REASONS = {
    "mismatch": "the secret is wrong",
    "revoked": "the token is revoked",
    "expired": "the token has expired",
    "tenant_deleted": "the tenant is deleted",
    "network": "the address is in none of the token's networks",
    "scope": "the token's scopes do not allow it",
    "throttled": "there were too many failures",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """How often a token with one key id was refused one client for one cause."""

    key_id: str
    cause: str
    address: str
    agent: str
    at: datetime
    count: int


class TokenReports:
    """Takes reports. A report that is sent twice changes nothing but the trail, where it stands twice."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock, self._scribe = storage, clock, Scribe(clock)

    async def take(self, uses: Iterable[Use], refusals: Iterable[Refusal]) -> None:
        """Note the uses, and write the refusals into the trail of whose key ids they are; others are dropped."""
        used = _newest(uses, self._clock.now())
        events = await self._events(_joined(refusals))
        if not used and not events:
            return
        tenants = {use.tenant for use in used} | {event.tenant for event in events}
        async with self._storage.begin_batch(tenants) as tx:
            if used:
                await tokens.note_uses(tx, used)
            await audit.append(tx, events)

    async def _events(self, refusals: Sequence[Refusal]) -> list[AuditEvent]:
        key_ids = sorted({refusal.key_id for refusal in refusals})
        if not key_ids:
            return []
        async with self._storage.begin_batch((), token_key=tokens.KEY_ID_SEPARATOR.join(key_ids)) as tx:
            owners = await tokens.find_owners(tx, key_ids)
        by_tenant: defaultdict[TenantId, list[tuple[TokenId, Refusal]]] = defaultdict(list)
        for refusal in refusals:
            if refusal.key_id in owners:
                tenant, token = owners[refusal.key_id]
                by_tenant[tenant].append((token, refusal))
        return [event for tenant, some in by_tenant.items() for event in self._of_tenant(tenant, some)]

    def _of_tenant(self, tenant: TenantId, refusals: list[tuple[TokenId, Refusal]]) -> Iterable[AuditEvent]:
        # The most frequent ones are told one by one.
        refusals.sort(key=lambda each: -each[1].count)
        for token, one in refusals[:MAX_EVENTS]:
            details = {"key_id": one.key_id, "cause": one.cause, "count": one.count, "last_time": one.at.isoformat()}
            caller = Caller(Actor(ActorType.TOKEN, one.key_id, one.address, one.agent))
            deed = Deed(ACTION, "token", str(token), details)
            yield self._scribe.event(tenant, caller, deed, REASONS.get(one.cause, "the token was refused"))
        rest = [one for _, one in refusals[MAX_EVENTS:]]
        if rest:
            counted = {"count": sum(one.count for one in rest), "kinds": len(rest)}
            deed = Deed(ACTION, "token", "", counted)
            reason = "more refusals than are told one by one"
            yield self._scribe.event(tenant, Caller(Actor(ActorType.SYSTEM, "token reports")), deed, reason)


def _newest(uses: Iterable[Use], now: datetime) -> list[Use]:
    """Return the last use of each token; a gateway's clock that is ahead counts as now."""
    newest: dict[TokenId, Use] = {}
    for use in uses:
        known = newest.get(use.token)
        if known is None or known.at < use.at:
            newest[use.token] = replace(use, at=min(use.at, now))
    return list(newest.values())


def _joined(refusals: Iterable[Refusal]) -> list[Refusal]:
    """Return one refusal for each key id, cause and address, with their sum and the last of them."""
    joined: dict[tuple[str, str, str], Refusal] = {}
    for one in refusals:
        key = (one.key_id, one.cause, one.address)
        known = joined.get(key)
        last = one if known is None or known.at < one.at else known
        joined[key] = replace(last, count=max(1, one.count) + (known.count if known else 0))
    return list(joined.values())
