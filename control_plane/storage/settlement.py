"""How leases end: results are checked against the fence on record, written, and what follows from them is marked.

``settle`` locks and reads every row that a result may touch, decides in plain Python, and writes all of them at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, LiteralString

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TargetId, TenantId
from control_plane.domain.jobs import Effect, Failure, Fence, JobKey, Result
from control_plane.domain.targets import TargetState
from control_plane.storage.engine import Tx
from control_plane.storage.marks import Raised, key_columns, raised_keys

# As the table's CHECK says: what its index can hold.
MAX_REMOTE_ID_BYTES = 1024
# The results' own rows; rows of the same target that hold, or held, the same account; groups that hold a resource whose
# account is new or another one. Locked in the order of type and key, like everywhere.
LOCK: LiteralString = """
    WITH mine AS MATERIALIZED (
        SELECT p.tenant_id, p.target_id, p.resource_id, p.remote_id, p.deleted, k.remote_id AS reported
        FROM unnest(%(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[], %(remote_ids)b::text[])
             AS k (tenant_id, target_id, resource_id, remote_id)
        JOIN provisioning p USING (tenant_id, target_id, resource_id)
    ), wanted AS (
        SELECT tenant_id, target_id, resource_id FROM mine
        UNION
        SELECT i.tenant_id, i.target_id, m.group_id
        FROM mine i JOIN memberships m ON m.member_id = i.resource_id AND m.tenant_id = i.tenant_id
        WHERE i.reported <> '' AND i.reported IS DISTINCT FROM i.remote_id
        UNION
        SELECT q.tenant_id, q.target_id, q.resource_id
        FROM mine i JOIN provisioning q
          ON q.remote_id = i.reported AND q.target_id = i.target_id AND q.tenant_id = i.tenant_id
        WHERE i.reported IS DISTINCT FROM i.remote_id
        UNION
        SELECT q.tenant_id, q.target_id, q.resource_id
        FROM mine i JOIN provisioning q
          ON q.remote_id = i.remote_id AND q.target_id = i.target_id AND q.tenant_id = i.tenant_id
        WHERE i.deleted
    )
    SELECT p.tenant_id, p.target_id, p.resource_id, p.deleted, p.desired_version, p.applied_version, p.remote_id,
           p.epoch, p.fence, p.leased_at, p.attempts, p.last_error, p.last_failure, p.dirty_since, p.applied_at, t.state
    FROM wanted
    JOIN provisioning p USING (tenant_id, target_id, resource_id)
    JOIN targets t ON t.id = p.target_id AND t.tenant_id = p.tenant_id
    ORDER BY p.type, p.tenant_id, p.target_id, p.resource_id FOR UPDATE OF p
"""
WRITE: LiteralString = """
    UPDATE provisioning p
    SET desired_version = i.desired_version, applied_version = i.applied_version, remote_id = i.remote_id,
        epoch = i.epoch, fence = i.fence, leased_at = i.leased_at, attempts = i.attempts, last_error = i.last_error,
        last_failure = i.last_failure, dirty_since = i.dirty_since, applied_at = i.applied_at
    FROM unnest(
        %(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[], %(desired)b::bigint[], %(applied)b::bigint[],
        %(remote_ids)b::text[], %(epochs)b::bigint[], %(fences)b::bigint[], %(leased_ats)b::timestamptz[],
        %(attempts)b::integer[], %(errors)b::text[], %(failures)b::smallint[], %(dirty_sinces)b::timestamptz[],
        %(applied_ats)b::timestamptz[]
    ) AS i (tenant_id, target_id, resource_id, desired_version, applied_version, remote_id, epoch, fence, leased_at,
            attempts, last_error, last_failure, dirty_since, applied_at)
    WHERE p.resource_id = i.resource_id AND p.target_id = i.target_id AND p.tenant_id = i.tenant_id
"""
RAISE_GROUPS: LiteralString = """
    WITH held AS MATERIALIZED (
        SELECT p.tenant_id, p.target_id, p.resource_id, t.state
        FROM (
            SELECT DISTINCT k.tenant_id, k.target_id, m.group_id
            FROM unnest(%(tenants)b::uuid[], %(targets)b::uuid[], %(resources)b::uuid[])
                 AS k (tenant_id, target_id, resource_id)
            JOIN memberships m ON m.member_id = k.resource_id AND m.tenant_id = k.tenant_id
        ) g
        JOIN provisioning p ON p.resource_id = g.group_id AND p.target_id = g.target_id AND p.tenant_id = g.tenant_id
        JOIN targets t ON t.id = p.target_id AND t.tenant_id = p.tenant_id
        WHERE NOT p.deleted
        ORDER BY 1, 2, 3 FOR UPDATE OF p
    )
    UPDATE provisioning p
    SET desired_version = p.desired_version + 1,
        dirty_since = CASE WHEN p.desired_version > p.applied_version THEN p.dirty_since ELSE %(at)b::timestamptz END
    FROM held h
    WHERE p.resource_id = h.resource_id AND p.target_id = h.target_id AND p.tenant_id = h.tenant_id
    RETURNING p.tenant_id, p.target_id, p.resource_id, p.desired_version, h.state
"""


TAKEN = "the account that was found belongs to another resource"


@dataclass(frozen=True, slots=True)
class SettleOutcome:
    """Whose results were taken, and which keys must be (re)done because of them.

    ``lags_s``: for each key that a result brought up to date, the seconds since it was first marked.
    ``repeated``: those of the accepted whose result had been written before, and changed nothing now.
    """

    accepted: frozenset[JobKey]
    raised: tuple[Raised, ...]
    lags_s: tuple[float, ...] = ()
    repeated: frozenset[JobKey] = frozenset()


@dataclass(slots=True)
class Row:
    """One row of ``provisioning``, locked and open for changes."""

    key: JobKey
    deleted: bool
    desired: int
    applied: int
    remote_id: str | None
    fence: Fence
    leased_at: datetime | None
    attempts: int
    last_error: str | None
    last_failure: int | None
    dirty_since: datetime | None
    applied_at: datetime | None
    active: bool

    def finish(self, result: Result) -> None:
        """End the lease; what the target now holds is decided elsewhere."""
        self.fence, self.leased_at = result.fence, None
        if result.failure is None:
            # Never beyond what is desired: a worker's mistake must not hide later changes.
            self.applied = max(self.applied, min(result.applied_version, self.desired))
            self.attempts, self.last_error, self.last_failure = 0, None, None
            self.applied_at = result.at
            if self.applied >= self.desired:
                self.dirty_since = None
        elif result.failure is not Failure.RELEASED:
            self.attempts += 1
            self.last_error, self.last_failure = _storable(result.error), int(result.failure)

    def raise_desired(self, at: datetime) -> None:
        """Mark the row as to be done (again)."""
        if self.desired <= self.applied:
            self.dirty_since = at
        self.desired += 1


@dataclass(slots=True)
class Ledger:
    """The locked rows, and what the results did to them."""

    rows: dict[JobKey, Row]
    # Every row that holds an account, or held it when this began.
    holders: defaultdict[tuple[TenantId, TargetId, str], list[Row]] = field(default_factory=lambda: defaultdict(list))
    accepted: set[JobKey] = field(default_factory=set)
    repeated: set[JobKey] = field(default_factory=set)
    touched: dict[JobKey, Row] = field(default_factory=dict)
    raised: dict[JobKey, Row] = field(default_factory=dict)
    linked: list[JobKey] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Ledger":
        """Return the ledger of these rows, before any result."""
        ledger = cls({row.key: row for row in rows})
        for row in ledger.rows.values():
            ledger._hold(row)
        return ledger

    def take(self, result: Result) -> None:
        """Write one result to its row and to those it concerns; ignore it if a newer fence is on record."""
        row = self.rows.get(result.key)
        if row is None or row.fence > result.fence:
            return
        self.accepted.add(row.key)
        if row.fence == result.fence and row.leased_at is None:
            # Sent again after a reconnect: the lease that it ended is over already.
            self.repeated.add(row.key)
            return
        result = self._unless_taken(row, result)
        self.touched[row.key] = row
        held = row.remote_id
        since = row.dirty_since
        row.finish(result)
        if since is not None and row.dirty_since is None:
            self.lags_s.append((result.at - since).total_seconds())
        # A tombstone remembers the account that is gone: a living resource that looked before the deletion, and reports
        # after it, would else be linked to nothing.
        if result.remote_id or (result.remote_id is not None and not row.deleted):
            row.remote_id = result.remote_id or None
            self._hold(row)
        if row.deleted:
            self._leave_to_the_living(row, held, result)
        elif row.remote_id is not None and row.remote_id != held:
            # Also if it replaces another one: somebody deleted that in the target, and its memberships with it.
            self.linked.append(row.key)
            self._take_over(row, row.remote_id, result)

    def _unless_taken(self, row: Row, result: Result) -> Result:
        """Return the result, or the failure that it is if another living resource has the account already.

        Two resources with one account would write over each other, and one of them would be missing for good.
        """
        account = result.remote_id
        if not account or row.deleted or result.failure is not None or account == row.remote_id:
            return result
        if not any(self._holders(row, account, deleted=False)):
            return result
        return replace(result, failure=Failure.INVALID, error=TAKEN, remote_id=None)

    def _take_over(self, row: Row, account: str, result: Result) -> None:
        """A living resource has an account that tombstones still claim: they lose it, and it is verified again.

        One whose lease is out may delete the account just now: it keeps the claim until its own result tells.
        """
        for tombstone in self._holders(row, account, deleted=True):
            self._raise(row, result.at)
            if tombstone.leased_at is None:
                tombstone.remote_id = None
                self.touched[tombstone.key] = tombstone

    def _leave_to_the_living(self, tombstone: Row, held: str | None, result: Result) -> None:
        """A tombstone's lease is over, while a living resource has its account: that one is verified, or made again."""
        for account in {held, tombstone.remote_id}:
            for living in self._holders(tombstone, account, deleted=False) if account else ():
                tombstone.remote_id = None
                if result.failure is None and result.effect is Effect.DELETED:
                    living.remote_id = None
                self._raise(living, result.at)

    def _hold(self, row: Row) -> None:
        if row.remote_id is not None:
            self.holders[row.key.tenant, row.key.target, row.remote_id].append(row)

    def _holders(self, row: Row, remote_id: str, *, deleted: bool) -> list[Row]:
        """Return the other rows of the same target that hold ``remote_id`` now."""
        candidates = self.holders[row.key.tenant, row.key.target, remote_id]
        return [one for one in candidates if one.remote_id == remote_id and one.deleted == deleted and one is not row]

    def _raise(self, row: Row, at: datetime) -> None:
        if row.key not in self.raised:
            row.raise_desired(at)
            self.raised[row.key] = self.touched[row.key] = row


async def settle(tx: Tx, results: Sequence[Result]) -> SettleOutcome:
    """Write results in a ``begin_batch`` transaction; each counts unless a newer fence is on record.

    Raised are: the groups in a target that hold a resource whose account there is new or another one, and a resource
    whose account a tombstone may have deleted. InvalidArgument, before anything is read or written, if some
    ``remote_id`` is none that can be stored: settle the results one by one then.
    """
    if not results:
        return SettleOutcome(frozenset(), ())
    for result in results:
        _require_storable(result.remote_id)
    params = {**key_columns(result.key for result in results), "remote_ids": [result.remote_id for result in results]}
    ledger = Ledger.of(_row(row) for row in await tx.fetch(LOCK, params))
    for result in results:
        ledger.take(result)
    if ledger.touched:
        await tx.fetch(WRITE, _columns(ledger.touched.values()))
    raised = {row.key: Raised(row.key, row.desired, row.active) for row in ledger.raised.values()}
    if ledger.linked:
        at = max(result.at for result in results)
        for one in raised_keys(await tx.fetch(RAISE_GROUPS, {**key_columns(ledger.linked), "at": at})):
            raised[one.key] = one
    return SettleOutcome(
        frozenset(ledger.accepted), tuple(raised.values()), tuple(ledger.lags_s), frozenset(ledger.repeated)
    )


def _require_storable(remote_id: str | None) -> None:
    """Raise InvalidArgument for an id that the database would refuse, and every other result with it."""
    if remote_id is None:
        return
    try:
        size = len(remote_id.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("remote_id", "is not valid Unicode") from None
    if "\0" in remote_id:
        raise InvalidArgument("remote_id", "contains a NUL character")
    if size > MAX_REMOTE_ID_BYTES:
        raise InvalidArgument("remote_id", f"is longer than {MAX_REMOTE_ID_BYTES} bytes")


def _storable(text: str) -> str:
    """Return ``text`` without what PostgreSQL refuses: NUL, and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", "")


def _row(row: tuple[Any, ...]) -> Row:
    return Row(
        key=JobKey(row[0], row[1], row[2]),
        deleted=row[3],
        desired=row[4],
        applied=row[5],
        remote_id=row[6],
        fence=Fence(row[7], row[8]),
        leased_at=row[9],
        attempts=row[10],
        last_error=row[11],
        last_failure=row[12],
        dirty_since=row[13],
        applied_at=row[14],
        active=row[15] == TargetState.ACTIVE,
    )


def _columns(rows: Iterable[Row]) -> dict[str, object]:
    rows = list(rows)
    return {
        **key_columns(row.key for row in rows),
        "desired": [row.desired for row in rows],
        "applied": [row.applied for row in rows],
        "remote_ids": [row.remote_id for row in rows],
        "epochs": [row.fence.epoch for row in rows],
        "fences": [row.fence.fence for row in rows],
        "leased_ats": [row.leased_at for row in rows],
        "attempts": [row.attempts for row in rows],
        "errors": [row.last_error for row in rows],
        "failures": [row.last_failure for row in rows],
        "dirty_sinces": [row.dirty_since for row in rows],
        "applied_ats": [row.applied_at for row in rows],
    }
