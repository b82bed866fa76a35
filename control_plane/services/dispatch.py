"""From claimed keys to leases: reads what is wanted, drops what needs no work, and shares the rest among workers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from control_plane.domain.errors import FailedPrecondition
from control_plane.domain.ids import TargetId
from control_plane.domain.jobs import JobKey
from control_plane.domain.secrets import Sealer
from control_plane.domain.targets import Target, TargetState, Work
from control_plane.queue.lease_queue import Claim, Settle, SettleKind
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.sessions import Granted, OpenTarget, Session
from control_plane.services.targets import secret_binding
from control_plane.storage import provisioning, targets
from control_plane.storage.engine import Storage

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """Leases for one session, and the targets among theirs that it does not know yet."""

    session: Session
    leases: list[Granted]
    targets: list[OpenTarget]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Every claim in one of three places: handed out, to be settled without work, or failed before it began."""

    grants: tuple[Grant, ...]
    settles: tuple[Settle, ...]
    broken: tuple[Granted, ...]  # the secret of their target cannot be opened


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
        opened = self._open(loaded.values())
        settles = [Settle(claim.key, claim.fence, SettleKind.RELEASE) for claim in unshared]
        grants: list[Grant] = []
        broken: list[Granted] = []
        for session, mine in shares:
            leases: list[Granted] = []
            for claim in mine:
                work = works.get(claim.key)
                if not needs_work(work):
                    version = max(claim.version, work.desired_version if work else 0)
                    settles.append(Settle(claim.key, claim.fence, SettleKind.DONE, version=version))
                    continue
                granted = Granted(claim.key, claim.fence, claim.attempt, claim.stale, work)
                (leases if claim.key.target in opened else broken).append(granted)
            grants.append(Grant(session, leases, _unknown(session, leases, opened)))
        return Assignment(tuple(grants), tuple(settles), tuple(broken))

    def _open(self, loaded: Iterable[Target]) -> dict[TargetId, OpenTarget]:
        """Return the targets whose secret can be opened; one that cannot must not stop its neighbours."""
        opened = {}
        for target in loaded:
            try:
                secret = self._sealer.open(target.secret_sealed, secret_binding(target.tenant, target.id))
            except FailedPrecondition as err:
                log.error("a target's secret cannot be opened", target=str(target.id), error=str(err))
                continue
            opened[target.id] = OpenTarget(target, secret)
        return opened


def _unknown(session: Session, leases: list[Granted], opened: dict[TargetId, OpenTarget]) -> list[OpenTarget]:
    """Return the targets of ``leases`` that the worker has not seen as they are now, and remember that it will."""
    found = []
    for target_id in {lease.key.target for lease in leases}:
        one = opened[target_id]
        if session.known_targets.get(target_id.bytes) != one.target.revision:
            session.known_targets[target_id.bytes] = one.target.revision
            found.append(one)
    return found


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
