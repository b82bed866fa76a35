"""Creates, reads and changes tenants."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from control_plane.domain.errors import InvalidArgument, NotFound
from control_plane.domain.ids import TenantId, uuid7
from control_plane.domain.tenants import IdentityProvider, Tenant
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.tenant_rules import TenantRules
from control_plane.storage import audit, tenants
from control_plane.storage.engine import Storage, Tx

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class TenantChange:
    """New settings; None leaves a field as it is. A switch set to None follows the preset again."""

    display_name: str | None = None
    identity_provider: IdentityProvider | None = None
    switches: Mapping[str, bool | None] = field(default_factory=dict)

    def applied(self, old: Tenant) -> Tenant:
        """Return ``old`` with the change; InvalidArgument for a name that no tenant can have."""
        name = old.display_name if self.display_name is None else self.display_name
        if not 1 <= len(name) <= MAX_NAME:
            raise InvalidArgument("tenant.display_name", f"must have 1 to {MAX_NAME} characters")
        overrides = {**old.overrides, **self.switches}
        return replace(
            old,
            display_name=name,
            identity_provider=self.identity_provider or old.identity_provider,
            overrides={switch: value for switch, value in overrides.items() if value is not None},
        )


class TenantService:
    """The use cases of muster.tenancy.v1.TenantService."""

    def __init__(self, storage: Storage, clock: Clock, rules: TenantRules) -> None:
        self._storage, self._clock, self._rules, self._scribe = storage, clock, rules, Scribe(clock)

    async def create(self, caller: Caller, display_name: str, identity_provider: IdentityProvider) -> Tenant:
        """Create a tenant with the preset of its identity provider."""
        now = self._clock.now()
        tenant_id = TenantId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        tenant = Tenant(tenant_id, display_name, now, identity_provider)
        async with self._storage.begin(tenant_id) as tx:
            await tenants.insert(tx, tenant)
            await self._audit(tx, caller, "tenant.create", tenant)
        return tenant

    async def update(self, caller: Caller, tenant_id: TenantId, change: TenantChange) -> Tenant:
        """Change what ``change`` names, for every request that begins afterwards; NotFound if there is no such tenant.

        What changes nothing leaves no trace.
        """
        async with self._storage.begin(tenant_id) as tx:
            old = await tenants.get(tx, tenant_id, lock=True)
            if old is None:
                raise NotFound("tenant", tenant_id)
            new = change.applied(old)
            if new == old:
                return old
            await tenants.update(tx, new)
            await self._audit(tx, caller, "tenant.update", new, changed=_changed(old, new))
            await self._rules.notify(tx, tenant_id)
        self._rules.forget(tenant_id)
        return new

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Return a tenant; NotFound if there is none."""
        async with self._storage.begin(tenant_id, read_only=True) as tx:
            found = await tenants.get(tx, tenant_id)
        if found is None:
            raise NotFound("tenant", tenant_id)
        return found

    async def list(self, after: TenantId | None, limit: int) -> list[Tenant]:
        """Return up to ``limit`` tenants created after ``after``, in order of creation."""
        async with self._storage.begin_batch(()) as tx:
            return await tenants.list_after(tx, after, limit)

    async def _audit(self, tx: Tx, caller: Caller, action: str, tenant: Tenant, **details: object) -> None:
        says = {"display_name": tenant.display_name, "identity_provider": tenant.identity_provider.preset, **details}
        if tenant.overrides:
            says["compatibility"] = dict(tenant.overrides)
        await audit.append(tx, [self._scribe.event(tenant.id, caller, Deed(action, "tenant", str(tenant.id), says))])


def _changed(old: Tenant, new: Tenant) -> list[str]:
    """Return the names of the fields that differ, as an update mask would name them."""
    fields = [name for name in ("display_name", "identity_provider") if getattr(old, name) != getattr(new, name)]
    switches = sorted(old.overrides.keys() | new.overrides.keys())
    return fields + [f"compatibility.{name}" for name in switches if old.overrides.get(name) != new.overrides.get(name)]
