"""What each tenant's requests are judged by, from memory while this process would hear of a change."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from control_plane.domain.errors import NotFound
from control_plane.domain.ids import TenantId
from control_plane.domain.tenants import Limits, TenantState
from control_plane.runtime.clock import Clock
from control_plane.scim.errors import Forbidden
from control_plane.scim.limits import BulkLimits
from control_plane.scim.registry import extended_registry, with_unique_group_names
from control_plane.scim.rules import ScimRules
from control_plane.storage import schemas, tenants
from control_plane.storage.engine import Storage, Tx

CHANNEL = "muster_rules"
# The database gives a sign of life each second; after this long without one, changes may be missed.
SILENCE_S = 2.5
# So long an entry counts while changes may be missed.
DEAF_AGE_S = 1.0
# The least recently used goes first. Few entries are large: all tenants without custom schemas share two registries.
MAX_TENANTS = 10_000
SUSPENDED = "this tenant is suspended"

Changed = Callable[[TenantId | None], None]


class TenantRules:
    """One for each process. Whoever changes what rules are made of calls :meth:`notify`, commits, and :meth:`forget`.

    A change is in force at once in the process that made it, and in others when they hear of it: within milliseconds,
    within ``DEAF_AGE_S`` while their listener is known to be deaf, within ``SILENCE_S`` if it fell deaf unnoticed.
    """

    def __init__(self, storage: Storage, clock: Clock, limits: Limits | None = None) -> None:
        """``limits`` are the installation's, for tenants that have none of their own."""
        self._storage, self._cache, self._limits = storage, RulesCache(clock), limits or Limits()
        self._subscribers: list[Changed] = []

    async def get(self, tenant: TenantId) -> ScimRules:
        """Return the tenant's rules; NotFound if there is no such tenant, or no longer; Forbidden if it is suspended.

        Of one that is not served nothing is remembered: gateways know it, and seldom ask.
        """
        known = self._cache.get(tenant)
        if known is not None:
            return known
        asked = self._cache.ask()
        rules = await self._load(tenant)
        self._cache.put(asked, tenant, rules)
        return rules

    def forget(self, tenant: TenantId) -> None:
        """Drop what is known of a tenant: who asks from now on reads it anew."""
        self._cache.forget(tenant)
        self._tell(tenant)

    def subscribe(self, changed: Changed) -> None:
        """Have ``changed`` called with each tenant that is not what it was; with None when that may be any of them."""
        self._subscribers.append(changed)

    async def notify(self, tx: Tx, tenant: TenantId) -> None:
        """Tell every control plane that the tenant's rules are others once ``tx`` commits."""
        await self._storage.notify(tx, CHANNEL, str(tenant))

    async def run(self) -> None:
        """Hear of changes until cancelled."""
        async with aclosing(self._storage.listen(CHANNEL)) as changes:
            async for said in changes:
                self._cache.hear(said)
                if said != "":
                    self._tell(parse(said))

    def _tell(self, tenant: TenantId | None) -> None:
        for changed in self._subscribers:
            changed(tenant)

    async def _load(self, tenant: TenantId) -> ScimRules:
        async with self._storage.begin(tenant, read_only=True) as tx:
            found = await tenants.get(tx, tenant)
            if found is None or found.state is TenantState.DELETED:
                raise NotFound("tenant", tenant)
            if found.state is TenantState.SUSPENDED:
                raise Forbidden(SUSPENDED)
            extensions = [each.extension for each in await schemas.list_all(tx)]
        compatibility = found.compatibility
        registry = with_unique_group_names(extended_registry(extensions), compatibility.unique_group_names)
        limits = found.effective_limits(self._limits)
        bulk = BulkLimits(limits.max_bulk_operations, limits.max_bulk_bytes)
        return ScimRules(registry, compatibility, limits.max_users, bulk)


def parse(said: str | None) -> TenantId | None:
    """Return whose change a word of the listener tells of; None: of anybody's, whatever a newer version says there."""
    try:
        return TenantId(UUID(said))
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Asked:
    """When the database was asked (monotonic seconds), and how many changes had been heard of by then."""

    at: float
    changes: int


class RulesCache:
    """Rules by tenant, each for as long as it may count; pure but for the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[TenantId, tuple[ScimRules, float]] = OrderedDict()
        self._changes, self._alive_at = 0, float("-inf")

    def get(self, tenant: TenantId) -> ScimRules | None:
        """Return what is known of a tenant, None if that is nothing or may be out of date."""
        entry = self._entries.get(tenant)
        if entry is None:
            return None
        rules, asked_at = entry
        now = self._clock.monotonic()
        if now - self._alive_at >= SILENCE_S and now - asked_at >= DEAF_AGE_S:
            del self._entries[tenant]
            return None
        self._entries.move_to_end(tenant)
        return rules

    def ask(self) -> Asked:
        """Return what :meth:`put` has to know; call it before the database is asked."""
        return Asked(self._clock.monotonic(), self._changes)

    def put(self, asked: Asked, tenant: TenantId, rules: ScimRules) -> None:
        """Keep what the database said, unless a change was heard of meanwhile: it may be older than the change."""
        if asked.changes != self._changes:
            return
        self._entries[tenant] = rules, asked.at
        self._entries.move_to_end(tenant)
        if len(self._entries) > MAX_TENANTS:
            self._entries.popitem(last=False)

    def forget(self, tenant: TenantId) -> None:
        """Drop one tenant."""
        self._changes += 1
        self._entries.pop(tenant, None)

    def hear(self, said: str | None) -> None:
        """Take a word of the listener: a tenant's id, "" as a sign of life, None when changes may have been missed."""
        self._alive_at = self._clock.monotonic()
        if said == "":
            return
        tenant = parse(said)
        if tenant is not None:
            self.forget(tenant)
        else:
            self._changes += 1
            self._entries.clear()
