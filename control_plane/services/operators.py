"""Makes, changes and removes operators. Somebody must always be left who can."""

from dataclasses import dataclass, replace

from control_plane.domain.errors import AlreadyExists, FailedPrecondition, NotFound
from control_plane.domain.ids import SYSTEM_TENANT, OperatorId, ResourceId, uuid7
from control_plane.domain.operators import OidcSubject, Operator, OperatorRole
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.trail import Trail
from control_plane.storage import operators
from control_plane.storage.engine import Storage, Tx


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """New values; None leaves a field as it is, except that ``oidc`` is set, or taken away, if ``sets_oidc``."""

    email: str | None = None
    display_name: str | None = None
    role: OperatorRole | None = None
    disabled: bool | None = None
    sets_oidc: bool = False
    oidc: OidcSubject | None = None


class OperatorService:
    """The use cases of muster.identity.v1.OperatorService."""

    def __init__(self, storage: Storage, clock: Clock, trail: Trail, *, has_admin_token: bool) -> None:
        """With an admin token in the settings there is an owner besides those in the database."""
        self._storage, self._clock, self._trail, self._has_admin_token = storage, clock, trail, has_admin_token
        self._scribe = Scribe(clock)

    async def create(
        self, caller: Caller, email: str, display_name: str, role: OperatorRole, oidc: OidcSubject | None
    ) -> Operator:
        """Create an operator; AlreadyExists if the e-mail address or the OIDC subject is somebody's."""
        now = self._clock.now()
        operator_id = OperatorId(uuid7(int(now.timestamp() * 1000), self._clock.random_bytes(10)))
        operator = Operator(operator_id, email, display_name, role, now, oidc=oidc)
        # Exclusive: who is unique, and who is the last owner, is asked first and written then.
        async with self._storage.begin(SYSTEM_TENANT, exclusive=True) as tx:
            await _refuse_unless_unique(tx, operator)
            await operators.insert(tx, operator)
            await self._audit(tx, caller, "operator.create", operator)
        return operator

    async def get(self, operator_id: OperatorId) -> Operator:
        """Return an operator; NotFound if there is none."""
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            return await _get(tx, operator_id)

    async def list(self, after: OperatorId | None, limit: int) -> list[Operator]:
        """Return up to ``limit`` operators created after ``after``, in order of creation."""
        async with self._storage.begin(SYSTEM_TENANT, read_only=True) as tx:
            return await operators.list_after(tx, after, limit)

    async def update(self, caller: Caller, operator_id: OperatorId, change: OperatorChange) -> Operator:
        """Change what ``change`` names, in force with the next call. What changes nothing leaves no trace."""
        async with self._storage.begin(SYSTEM_TENANT, exclusive=True) as tx:
            old = await _get(tx, operator_id)
            new = self._changed(old, change)
            if new == old:
                return old
            await _refuse_unless_unique(tx, new)
            if old.is_active_owner and not new.is_active_owner:
                await self._refuse_last_owner(tx)
            await operators.save(tx, new)
            await self._audit(tx, caller, "operator.update", new, changed=_differences(old, new))
        return new

    async def delete(self, caller: Caller, operator_id: OperatorId) -> None:
        """Delete an operator with every key; NotFound if there is none."""
        async with self._storage.begin(SYSTEM_TENANT, exclusive=True) as tx:
            old = await _get(tx, operator_id)
            if old.is_active_owner:
                await self._refuse_last_owner(tx)
            await operators.remove(tx, operator_id)
            await self._audit(tx, caller, "operator.delete", old)

    def _changed(self, old: Operator, change: OperatorChange) -> Operator:
        disabled_at = old.disabled_at
        if change.disabled is not None:
            disabled_at = (old.disabled_at or self._clock.now()) if change.disabled else None
        return replace(
            old,
            email=old.email if change.email is None else change.email,
            display_name=old.display_name if change.display_name is None else change.display_name,
            role=old.role if change.role is None else change.role,
            disabled_at=disabled_at,
            oidc=change.oidc if change.sets_oidc else old.oidc,
        )

    async def _refuse_last_owner(self, tx: Tx) -> None:
        if not self._has_admin_token and await operators.count_active_owners(tx) <= 1:
            raise FailedPrecondition("this is the last owner who can act, and no admin token is configured")

    async def _audit(self, tx: Tx, caller: Caller, action: str, operator: Operator, **details: object) -> None:
        says = {"role": operator.role.name.lower(), "disabled": operator.disabled_at is not None, **details}
        # Who it was must be known when the account is gone, and can be erased as any person's values can.
        person, personal = ResourceId(operator.id), {"email": operator.email, "display_name": operator.display_name}
        deed = Deed(action, "operator", str(operator.id), says, person, personal)
        await self._trail.append(tx, [self._scribe.event(SYSTEM_TENANT, caller, deed)])


async def _get(tx: Tx, operator_id: OperatorId) -> Operator:
    found = await operators.get(tx, operator_id)
    if found is None:
        raise NotFound("operator", operator_id)
    return found


async def _refuse_unless_unique(tx: Tx, operator: Operator) -> None:
    """Raise AlreadyExists if another operator has the e-mail address or the OIDC subject."""
    holder = await operators.find_by_email(tx, operator.email)
    if holder is not None and holder.id != operator.id:
        raise AlreadyExists("an operator with this e-mail address exists")
    holder = None if operator.oidc is None else await operators.find_by_oidc(tx, operator.oidc)
    if holder is not None and holder.id != operator.id:
        raise AlreadyExists("an operator with this OIDC subject exists")


def _differences(old: Operator, new: Operator) -> list[str]:
    """Return the names of the fields that differ, as an update mask would name them."""
    fields = [name for name in ("email", "display_name", "role", "oidc") if getattr(old, name) != getattr(new, name)]
    return fields if old.disabled_at == new.disabled_at else [*fields, "disabled"]
