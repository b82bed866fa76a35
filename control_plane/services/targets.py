"""Administers target apps."""

from dataclasses import dataclass, replace

from control_plane.domain.errors import InvalidArgument, NotFound
from control_plane.domain.ids import TargetId, TenantId, uuid7
from control_plane.domain.secrets import NONCE_BYTES, TARGET_SECRETS
from control_plane.domain.targets import Target, TargetKind, TargetState, TargetStatus
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.keyring import Keyring
from control_plane.services.reach import Reach
from control_plane.services.relay import Relay
from control_plane.storage import audit, provisioning, targets, tenants
from control_plane.storage.engine import Storage, Tx

# Marking every resource of a tenant takes about 10 us each; the policy table gives CreateTarget 30 s.
BACKFILL_TIMEOUT_S = 25.0
URL_FIELD = "scim.base_url"


@dataclass(frozen=True, slots=True)
class TargetChange:
    """New settings; None leaves a field as it is."""

    display_name: str | None = None
    base_url: str | None = None
    secret: str | None = None


class TargetService:
    """The use cases of muster.tenancy.v1.TargetService."""

    def __init__(self, storage: Storage, clock: Clock, keyring: Keyring, relay: Relay, reach: Reach) -> None:
        self._storage, self._clock, self._keyring, self._relay = storage, clock, keyring, relay
        self._scribe, self._reach = Scribe(clock), reach

    async def create(self, caller: Caller, tenant: TenantId, display_name: str, base_url: str, secret: str) -> Target:
        """Create a paused target; every resource of the tenant is marked as wanted there."""
        now = self._clock.now()
        target_id = TargetId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        target = Target(
            id=target_id,
            tenant=tenant,
            display_name=display_name,
            kind=TargetKind.SCIM,
            state=TargetState.PAUSED,
            base_url=await self._reach.checked(URL_FIELD, base_url),
            secret_sealed=b"",
            revision=1,
            created_at=now,
            updated_at=now,
        )
        async with self._storage.begin(tenant, timeout_s=BACKFILL_TIMEOUT_S, exclusive=True) as tx:
            await tenants.require(tx, tenant)
            target = replace(target, secret_sealed=await self._seal(tx, target_id, secret))
            await targets.insert(tx, target)
            wanted = await provisioning.backfill(tx, target_id, now)
            await self._audit(tx, caller, "target.create", target, wanted=wanted)
        return target

    async def get(self, tenant: TenantId, target_id: TargetId) -> Target:
        """Return a target; NotFound if the tenant has none with this id."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await self._get(tx, target_id)

    async def list(self, tenant: TenantId, after: TargetId | None, limit: int) -> list[Target]:
        """Return up to ``limit`` targets created after ``after``, in order of creation."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await targets.list_after(tx, after, limit)

    async def update(self, caller: Caller, tenant: TenantId, target_id: TargetId, change: TargetChange) -> Target:
        """Change what ``change`` names; workers see it with their next lease."""
        if change.display_name == "":
            raise InvalidArgument("display_name", "must not be empty")
        base_url = None if change.base_url is None else await self._reach.checked(URL_FIELD, change.base_url)
        async with self._storage.begin(tenant) as tx:
            old = await self._get(tx, target_id, lock=True)
            await tenants.require(tx, tenant)
            new = replace(
                old,
                display_name=old.display_name if change.display_name is None else change.display_name,
                base_url=old.base_url if base_url is None else base_url,
                secret_sealed=old.secret_sealed
                if change.secret is None
                else await self._seal(tx, target_id, change.secret),
                revision=old.revision + 1,
                updated_at=self._clock.now(),
            )
            await targets.update(tx, new)
            named = [name for name in ("display_name", "base_url", "secret") if getattr(change, name) is not None]
            await self._audit(tx, caller, "target.update", new, changed=named)
        # A new credential or address mends what failed before: its keys need not wait out their back-off.
        self._relay.request_sweep(expedite=target_id)
        return new

    async def set_state(self, caller: Caller, tenant: TenantId, target_id: TargetId, state: TargetState) -> Target:
        """Activate or pause; a target that is so already stays as it is."""
        async with self._storage.begin(tenant) as tx:
            old = await self._get(tx, target_id, lock=True)
            if old.state is state:
                return old
            await tenants.require(tx, tenant)
            new = replace(old, state=state, updated_at=self._clock.now())
            await targets.update(tx, new)
            verb = "activate" if state is TargetState.ACTIVE else "pause"
            await self._audit(tx, caller, f"target.{verb}", new)
        self._relay.request_sweep(expedite=target_id)
        return new

    async def status(self, tenant: TenantId, target_id: TargetId) -> TargetStatus:
        """Return how far the target is behind."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            await self._get(tx, target_id)
            return await provisioning.status(tx, target_id)

    async def _seal(self, tx: Tx, target_id: TargetId, secret: str) -> bytes:
        sealer = await self._keyring.sealer(tx, tx.tenant)
        place, nonce = TARGET_SECRETS.place(target_id), self._clock.random_bytes(NONCE_BYTES)
        return sealer.seal(secret.encode(), place, nonce)

    async def _get(self, tx: Tx, target_id: TargetId, *, lock: bool = False) -> Target:
        target = await targets.get(tx, target_id, lock=lock)
        if target is None:
            raise NotFound("target", target_id)
        return target

    async def _audit(self, tx: Tx, caller: Caller, action: str, target: Target, **details: object) -> None:
        deed = Deed(action, "target", str(target.id), {"display_name": target.display_name, **details})
        await audit.append(tx, [self._scribe.event(target.tenant, caller, deed)])
