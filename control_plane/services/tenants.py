"""Creates and reads tenants."""

from control_plane.domain.errors import NotFound
from control_plane.domain.ids import TenantId, uuid7
from control_plane.domain.tenants import Tenant
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, tenants
from control_plane.storage.engine import Storage


class TenantService:
    """The use cases of muster.tenancy.v1.TenantService."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage, self._clock, self._scribe = storage, clock, Scribe(clock)

    async def create(self, caller: Caller, display_name: str) -> Tenant:
        """Create a tenant."""
        now = self._clock.now()
        tenant_id = TenantId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        tenant = Tenant(tenant_id, display_name, now)
        deed = Deed("tenant.create", "tenant", str(tenant_id), {"display_name": display_name})
        async with self._storage.begin(tenant_id) as tx:
            await tenants.insert(tx, tenant)
            await audit.append(tx, [self._scribe.event(tenant_id, caller, deed)])
        return tenant

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
