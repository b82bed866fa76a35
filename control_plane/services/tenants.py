"""Creates, reads and changes tenants, suspends them, deletes them for a while, and brings them back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from control_plane.domain.errors import FailedPrecondition, InvalidArgument
from control_plane.domain.ids import TenantId, uuid7
from control_plane.domain.tenants import IdentityProvider, Tenant, TenantState
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.relay import Relay
from control_plane.services.tenant_rules import TenantRules
from control_plane.services.token_watch import CHANNEL as TOKENS
from control_plane.storage import audit, tenants
from control_plane.storage.engine import Storage, Tx

MAX_NAME = 200
DEFAULT_GRACE = timedelta(days=30)
# What a tenant must be in for a change, and what it is afterwards.
Change = Callable[[Tenant], Tenant]


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What a tenant begins with."""

    display_name: str
    identity_provider: IdentityProvider = IdentityProvider.GENERIC
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TenantChange:
    """New settings; None leaves a field as it is. A switch or limit set to None follows its default again."""

    display_name: str | None = None
    identity_provider: IdentityProvider | None = None
    switches: Mapping[str, bool | None] = field(default_factory=dict)
    limits: Mapping[str, int | None] = field(default_factory=dict)
    audit_retention_days: int | None = None

    def applied(self, old: Tenant) -> Tenant:
        """Return ``old`` with the change; InvalidArgument for a name that no tenant can have."""
        name = old.display_name if self.display_name is None else self.display_name
        if not 1 <= len(name) <= MAX_NAME:
            raise InvalidArgument("tenant.display_name", f"must have 1 to {MAX_NAME} characters")
        switches, limits = {**old.overrides, **self.switches}, {**old.limits, **self.limits}
        return replace(
            old,
            display_name=name,
            identity_provider=self.identity_provider or old.identity_provider,
            overrides={switch: value for switch, value in switches.items() if value is not None},
            limits={limit: value for limit, value in limits.items() if value is not None},
            audit_retention_days=self.audit_retention_days or old.audit_retention_days,
        )


class TenantService:
    """The use cases of muster.tenancy.v1.TenantService."""

    def __init__(self, storage: Storage, clock: Clock, rules: TenantRules, relay: Relay) -> None:
        self._storage, self._clock, self._rules, self._relay = storage, clock, rules, relay
        self._scribe = Scribe(clock)

    async def create(self, caller: Caller, new: NewTenant) -> Tenant:
        """Create a tenant with the preset of its identity provider."""
        now = self._clock.now()
        tenant_id = TenantId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        tenant = Tenant(tenant_id, new.display_name, now, new.identity_provider, limits=new.limits)
        async with self._storage.begin(tenant_id) as tx:
            await tenants.insert(tx, tenant)
            await self._audit(tx, caller, "tenant.create", tenant)
        return tenant

    async def update(self, caller: Caller, tenant_id: TenantId, change: TenantChange) -> Tenant:
        """Change what ``change`` names, for every request that begins afterwards.

        NotFound if there is no such tenant, FailedPrecondition if it is deleted. What changes nothing leaves no trace.
        """
        return await self._change(caller, tenant_id, "tenant.update", lambda old: change.applied(_living(old)))

    async def suspend(self, caller: Caller, tenant_id: TenantId, reason: str) -> Tenant:
        """Stop serving a tenant; one that is suspended stays as it is. FailedPrecondition if it is deleted."""
        now = self._clock.now()

        def suspended(old: Tenant) -> Tenant:
            if _living(old).state is TenantState.SUSPENDED:
                return old
            return replace(old, state=TenantState.SUSPENDED, suspended_at=now, suspend_reason=reason)

        return await self._change(caller, tenant_id, "tenant.suspend", suspended)

    async def resume(self, caller: Caller, tenant_id: TenantId) -> Tenant:
        """Serve a tenant again; no error if it is served. FailedPrecondition if it is deleted."""

        def resumed(old: Tenant) -> Tenant:
            return replace(_living(old), state=TenantState.ACTIVE, suspended_at=None, suspend_reason="")

        return await self._change(caller, tenant_id, "tenant.resume", resumed)

    async def delete(self, caller: Caller, tenant_id: TenantId, grace: timedelta | None, confirmed: str) -> Tenant:
        """Delete a tenant that is called ``confirmed``; its data goes after ``grace``, 30 days if None."""
        now = self._clock.now()

        def deleted(old: Tenant) -> Tenant:
            if confirmed != _living(old).display_name:
                raise InvalidArgument("confirm_display_name", "is not the tenant's display_name")
            purge_at = now + (DEFAULT_GRACE if grace is None else grace)
            return replace(old, state=TenantState.DELETED, deleted_at=now, purge_at=purge_at)

        return await self._change(caller, tenant_id, "tenant.delete", deleted)

    async def restore(self, caller: Caller, tenant_id: TenantId) -> Tenant:
        """Take a deletion back; FailedPrecondition if there is none, or its grace is over."""
        now = self._clock.now()

        def restored(old: Tenant) -> Tenant:
            if old.state is not TenantState.DELETED:
                raise FailedPrecondition("the tenant is not deleted")
            if old.purge_at is not None and old.purge_at <= now:
                raise FailedPrecondition("the grace period is over: the tenant's data is going, or gone")
            state = TenantState.ACTIVE if old.suspended_at is None else TenantState.SUSPENDED
            return replace(old, state=state, deleted_at=None, purge_at=None)

        return await self._change(caller, tenant_id, "tenant.restore", restored)

    async def get(self, tenant_id: TenantId) -> Tenant:
        """Return a tenant, also a deleted one whose data is still there; NotFound if there is none."""
        async with self._storage.begin(tenant_id, read_only=True) as tx:
            return await tenants.existing(tx, tenant_id)

    async def list(self, after: TenantId | None, limit: int, *, deleted: bool) -> list[Tenant]:
        """Return up to ``limit`` tenants created after ``after``, in order of creation; also ``deleted`` ones."""
        async with self._storage.begin_batch(()) as tx:
            return await tenants.list_after(tx, after, limit, deleted=deleted)

    async def _change(self, caller: Caller, tenant_id: TenantId, action: str, change: Change) -> Tenant:
        """Store what ``change`` makes of a tenant, with its audit event, and tell every process of it."""
        async with self._storage.begin(tenant_id) as tx:
            old = await tenants.existing(tx, tenant_id, lock=True)
            new = change(old)
            if new == old:
                return old
            await tenants.update(tx, new)
            await self._audit(tx, caller, action, new, changed=_changed(old, new))
            await self._rules.notify(tx, tenant_id)
            if (new.state, new.limits) != (old.state, old.limits):
                # Gateways keep both with the tokens that they have verified.
                await self._storage.notify(tx, TOKENS, f"tenant:{tenant_id}")
        self._rules.forget(tenant_id)
        if new.state is TenantState.ACTIVE and old.state is not TenantState.ACTIVE:
            self._relay.request_sweep()
        return new

    async def _audit(self, tx: Tx, caller: Caller, action: str, tenant: Tenant, **details: object) -> None:
        says = {"display_name": tenant.display_name, "identity_provider": tenant.identity_provider.preset, **details}
        if tenant.overrides:
            says["compatibility"] = dict(tenant.overrides)
        if tenant.limits:
            says["limits"] = dict(tenant.limits)
        if tenant.suspend_reason:
            says["suspend_reason"] = tenant.suspend_reason
        if tenant.purge_at is not None:
            says["purge_time"] = tenant.purge_at.isoformat()
        await audit.append(tx, [self._scribe.event(tenant.id, caller, Deed(action, "tenant", str(tenant.id), says))])


def _living(tenant: Tenant) -> Tenant:
    """Return the tenant if it may be changed; FailedPrecondition if it is deleted."""
    if tenant.state is TenantState.DELETED:
        raise FailedPrecondition(tenants.DELETED)
    return tenant


# As an update mask, or the tenant on the wire, names them.
_FIELDS = {
    "display_name": "display_name",
    "identity_provider": "identity_provider",
    "audit_retention": "audit_retention_days",
    "state": "state",
}


def _changed(old: Tenant, new: Tenant) -> list[str]:
    """Return the names of the fields that differ."""
    found = [name for name, attribute in _FIELDS.items() if getattr(old, attribute) != getattr(new, attribute)]
    for whole, before, after in (
        ("compatibility", dict[str, object](old.overrides), new.overrides),
        ("limits", dict[str, object](old.limits), new.limits),
    ):
        names = sorted(before.keys() | after.keys())
        found += [f"{whole}.{name}" for name in names if before.get(name) != after.get(name)]
    return found
