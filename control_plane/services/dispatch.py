"""From claimed keys to leases: reads what is wanted, drops what needs no work, and shares the rest among workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from control_plane.domain.jobs import JobKey
from control_plane.domain.secrets import Sealer
from control_plane.domain.targets import TargetState, Work
from control_plane.queue.lease_queue import Claim, Settle, SettleKind
from control_plane.runtime.clock import Clock
from control_plane.services.sessions import Granted, OpenTarget, Session
from control_plane.services.targets import secret_binding
from control_plane.storage import provisioning, targets
from control_plane.storage.engine import Storage


@dataclass(frozen=True, slots=True)
class Assignment:
    """Leases for each session with the targets it does not know yet, and keys to settle without work."""

    grants: tuple[tuple[Session, list[Granted], list[OpenTarget]], ...]
    settles: tuple[Settle, ...]


class Dispatcher:
    """Reads the work behind claimed keys in one transaction."""

    def __init__(self, storage: Storage, sealer: Sealer, clock: Clock) -> None:
        self._storage, self._sealer, self._clock = storage, sealer, clock

    async def assign(self, claims: Sequence[Claim], sessions: Sequence[Session]) -> Assignment:
        """Return who gets which of ``claims``: each is granted or settled. Unavailable if the database is down."""
        shares, unshared = share(claims, sessions)
        now = self._clock.now()
        works: dict[JobKey, Work] = {}
        # The record of who holds what may be lost with the server's memory: the fence in Redis still guards.
        async with self._storage.begin_batch({claim.key.tenant for claim in claims}, durable=False) as tx:
            for session, mine in shares:
                works |= await provisioning.dispatch(
                    tx, [(claim.key, claim.fence) for claim in mine], session.worker, now
                )
            wanted = {key.target for key in works}
            loaded = await targets.load(tx, list(wanted)) if wanted else {}
        settles = [Settle(claim.key, claim.fence, SettleKind.RELEASE) for claim in unshared]
        grants = []
        for session, mine in shares:
            leases = []
            for claim in mine:
                work = works.get(claim.key)
                if needs_work(work):
                    leases.append(Granted(claim.key, claim.fence, claim.attempt, claim.stale, work))
                else:
                    version = max(claim.version, work.desired_version if work else 0)
                    settles.append(Settle(claim.key, claim.fence, SettleKind.DONE, version=version))
            opened = [
                OpenTarget(target, self._sealer.open(target.secret_sealed, secret_binding(target.tenant, target.id)))
                for target in (loaded[one] for one in {lease.key.target for lease in leases} if one in loaded)
                if session.known_targets.get(target.id.bytes) != target.revision
            ]
            session.known_targets |= {one.target.id.bytes: one.target.revision for one in opened}
            grants.append((session, leases, opened))
        return Assignment(tuple(grants), tuple(settles))


def needs_work(work: Work | None) -> TypeGuard[Work]:
    """Tell whether a worker has anything to do: the row exists, is behind, and its target is active."""
    return work is not None and work.applied_version < work.desired_version and work.target_state is TargetState.ACTIVE


def share(
    claims: Sequence[Claim], sessions: Sequence[Session]
) -> tuple[list[tuple[Session, list[Claim]]], list[Claim]]:
    """Give each claim to the session with the most free slots left; return also what nobody can take."""
    free = {id(session): session.free() for session in sessions}
    shares: dict[int, list[Claim]] = {id(session): [] for session in sessions}
    left: list[Claim] = []
    for claim in claims:
        best = max(free, key=lambda one: free[one], default=None)
        if best is None or free[best] <= 0:
            left.append(claim)
            continue
        free[best] -= 1
        shares[best].append(claim)
    return [(session, shares[id(session)]) for session in sessions if shares[id(session)]], left
