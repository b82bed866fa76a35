"""From claimed keys to leases: reads what is wanted, drops what needs no work, and shares the rest among workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from control_plane.domain.errors import MusterError
from control_plane.domain.ids import TargetId
from control_plane.domain.jobs import JobKey
from control_plane.domain.secrets import TARGET_SECRETS
from control_plane.domain.targets import TargetState, Work
from control_plane.queue.lease_queue import Claim, Settle, SettleKind
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.keyring import Keyring
from control_plane.services.sessions import Granted, OpenTarget, Session
from control_plane.storage import provisioning, targets
from control_plane.storage.engine import Storage, Tx

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

    def __init__(self, storage: Storage, keyring: Keyring, clock: Clock) -> None:
        self._storage, self._keyring, self._clock = storage, keyring, clock

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
            opened = await self._open(tx, wanted)
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

    async def _open(self, tx: Tx, wanted: set[TargetId]) -> dict[TargetId, OpenTarget]:
        """Return the targets whose secret can be opened; one that cannot must not stop its neighbours."""
        opened, failed = await self._try(tx, wanted)
        if failed:
            # A rotation that ended between the two reads has sealed them with a key that we did not see.
            again, failed = await self._try(tx, set(failed))
            opened |= again
        for target_id, err in failed.items():
            log.error("a target's secret cannot be opened", target=str(target_id), error=str(err))
        return opened

    async def _try(
        self, tx: Tx, wanted: set[TargetId]
    ) -> tuple[dict[TargetId, OpenTarget], dict[TargetId, MusterError | UnicodeDecodeError]]:
        opened: dict[TargetId, OpenTarget] = {}
        failed: dict[TargetId, MusterError | UnicodeDecodeError] = {}
        loaded = await targets.load(tx, wanted) if wanted else {}
        sealers = await self._keyring.sealers(tx, {one.tenant for one in loaded.values()}) if loaded else {}
        for target in loaded.values():
            sealer = sealers.get(target.tenant) or self._keyring.keyless(target.tenant)
            try:
                secret = sealer.open(target.secret_sealed, TARGET_SECRETS.place(target.id)).decode()
            except (MusterError, UnicodeDecodeError) as err:
                failed[target.id] = err
            else:
                opened[target.id] = OpenTarget(target, secret)
        return opened, failed


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
