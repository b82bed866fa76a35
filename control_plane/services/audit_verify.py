"""Verifies a tenant's trail: events against links, links against each other, all of it against head and checkpoints."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import UUID

from control_plane.domain.audit_chain import Head, Link, empty_head
from control_plane.domain.audit_check import ChainCheck, Problem, ProblemKind
from control_plane.domain.checkpoints import FileCheck, Statement, VerifyKey
from control_plane.domain.ids import TenantId
from control_plane.domain.merkle import root_of
from control_plane.metrics import Metrics
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.storage import audit_chain, audit_checkpoints, tenants
from control_plane.storage.audit_checkpoints import CheckpointRow
from control_plane.storage.engine import Storage

log = get_logger(__name__)

# A page takes a few milliseconds of the loop's time; it is hashed in a thread.
PAGE = 2_000
UNSEALED_PAGE = 10_000
PROGRESS_S, PROGRESS_EVENTS = 1.0, 20_000
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """A statement that holds, and its signature."""

    statement: Statement
    signature: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a verification is; with ``is_done`` it is the verdict."""

    verified: int
    total: int
    is_done: bool = False
    problems: tuple[Problem, ...] = ()
    last_seq: int = 0
    checkpoint: VerifiedCheckpoint | None = None


class AuditVerifier:
    """The use case. Memory does not grow with the trail."""

    def __init__(self, storage: Storage, checkpoints: AuditCheckpoints, metrics: Metrics, clock: Clock) -> None:
        self._storage, self._checkpoints, self._metrics, self._clock = storage, checkpoints, metrics, clock

    async def verify(self, tenant: TenantId) -> AsyncGenerator[Progress]:
        """Yield progress each second or 20,000 events, then the verdict; NotFound if there is no such tenant."""
        # In this order: what a checkpoint says was in the chain before, so a head that is read later knows of it.
        evidence = await self._evidence(tenant)
        end, problems = await self._end(tenant)
        marks = {seq: mark for seq, mark in evidence.marks.items() if seq >= end.first_seq - 1}
        check = ChainCheck(end.first_seq, end.first_hash, marks)
        check.problems += [Problem(ProblemKind.CHECKPOINT, 0, "", one) for one in evidence.problems] + problems
        total, told_at, told = end.seq - end.first_seq + 1, self._clock.monotonic(), 0
        page = await self._page(tenant, check.seq, end.seq)
        while page.links or page.start is not None:
            # The database reads ahead while a thread hashes.
            after = page.end
            _, page = await asyncio.gather(asyncio.to_thread(_feed, check, page), self._page(tenant, after, end.seq))
            now = self._clock.monotonic()
            if now - told_at >= PROGRESS_S or check.verified - told >= PROGRESS_EVENTS:
                told_at, told = now, check.verified
                yield Progress(check.verified, total)
        check.finish(end)
        await self._around(tenant, check)
        if check.problems:
            self._metrics.audit_verify_failures.inc()
            first = check.problems[0]
            log.error("an audit trail is not whole", tenant=str(tenant), kind=first.kind.name, seq=first.seq)
        yield Progress(check.verified, total, True, tuple(check.problems), end.seq, evidence.newest)

    async def _page(self, tenant: TenantId, after: int, last: int) -> "_Page":
        """Return the links behind ``after``, none behind ``last``."""
        if after >= last:
            return _Page([])
        async with self._storage.begin(tenant, read_only=True, timeout_s=TIMEOUT_S) as tx:
            links = await audit_chain.links(tx, after, min(PAGE, last - after))
            if links and links[0].seq == after + 1:
                return _Page([one for one in links if one.seq <= last])
            head = await audit_chain.head(tx)
        # A gap; but of what expired since the last page, nothing is missing.
        start = head if head is not None and head.first_seq > after + 1 else None
        first = after + 1 if start is None else start.first_seq
        return _Page([one for one in links if first <= one.seq <= last], start)

    async def _end(self, tenant: TenantId) -> tuple[Head, list[Problem]]:
        """Return where the chain ends by what the head says, else by its last link, which is a problem."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            await tenants.require_owner(tx, tenant)
            last = await audit_chain.last_link(tx)
            head = await audit_chain.head(tx)
            if head is not None and last <= head.seq:
                return head, []
            if head is not None:
                return head, [Problem(ProblemKind.BROKEN_LINK, head.seq + 1, "", "there is a link behind the head")]
            if last == 0:
                return empty_head(tenant), []
            ends = await audit_chain.links(tx, last - 1, 1)
        start = empty_head(tenant)
        problem = Problem(ProblemKind.BROKEN_LINK, last, "", "the head of the chain is not there")
        return Head(tenant, last, ends[0].hash, start.first_seq, start.first_hash), [problem]

    async def _around(self, tenant: TenantId, check: ChainCheck) -> None:
        """Look for events beside the chain, and for who accounts for its missing beginning."""
        after = UUID(int=0)
        while True:
            async with self._storage.begin(tenant, read_only=True, timeout_s=TIMEOUT_S) as tx:
                found = await audit_chain.unsealed(tx, after, UNSEALED_PAGE)
            for event_id in found.ids:
                what = "this event has no place in the chain, and does not wait for one"
                check.report(ProblemKind.UNSEALED, 0, event_id, what)
            if found.looked_at < UNSEALED_PAGE or found.last is None:
                break
            after = found.last
        async with self._storage.begin(tenant, read_only=True) as tx:
            begin = await audit_chain.beginning(tx)
        if begin.lowest is not None and begin.lowest < begin.first_seq:
            check.report(ProblemKind.BROKEN_LINK, begin.lowest, "", "there is a link before the beginning of the chain")
        if begin.first_seq != 1 and begin.expired != (str(begin.first_seq - 1), begin.first_hash.hex()):
            what = "the chain begins here, and no audit.expire accounts for what came before"
            check.report(ProblemKind.MISSING, begin.first_seq - 1, "", what)

    async def _evidence(self, tenant: TenantId) -> "_Evidence":
        keys, file = self._checkpoints.keys, self._checkpoints.file
        # Before the file is read: each checkpoint is in the file before it is in the database.
        async with self._storage.begin(tenant, read_only=True) as tx:
            newest = await audit_checkpoints.last_number(tx, [tenant])
        written = FileCheck(tenant, keys)
        if file is not None:
            await asyncio.to_thread(lambda: written.feed(file.lines()))
        evidence = _Evidence(written, keys, has_file=file is not None)
        after = 0
        while True:
            async with self._storage.begin(tenant, read_only=True) as tx:
                rows = await audit_checkpoints.page(tx, after, PAGE)
            await asyncio.to_thread(evidence.take, [row for row in rows if row.statement.number <= newest])
            if len(rows) < PAGE:
                return evidence
            after = rows[-1].statement.number


@dataclass(frozen=True, slots=True)
class _Page:
    """The next links; ``start`` is where the chain begins now, if what was before it expired meanwhile."""

    links: list[Link]
    start: Head | None = None

    @property
    def end(self) -> int:
        """The last place that this page settles."""
        if self.links:
            return self.links[-1].seq
        return 0 if self.start is None else self.start.first_seq - 1


def _feed(check: ChainCheck, page: _Page) -> None:
    if page.start is not None:
        check.restart(page.start.first_seq, page.start.first_hash)
    check.feed(page.links)


class _Evidence:
    """What the checkpoints say of one chain: those of the file, and those of the database, which must agree."""

    def __init__(self, written: FileCheck, keys: dict[str, VerifyKey], *, has_file: bool) -> None:
        self.marks, self.problems = written.marks, written.problems
        self.newest: VerifiedCheckpoint | None = None
        self._written, self._keys, self._has_file = written, keys, has_file
        if written.statements:
            self.newest = VerifiedCheckpoint(*written.statements[max(written.statements)])

    def take(self, rows: list[CheckpointRow]) -> None:
        """Verify rows of the database."""
        for row in rows:
            self._take(row)

    def _take(self, row: CheckpointRow) -> None:
        said = row.statement
        known = self._written.statements.get(said.number)
        key = self._keys.get(said.key_id)
        is_forged = key is not None and not key.is_signed(said, row.signature)
        if self._has_file and known is None:
            self.problems.append(f"the file knows nothing of checkpoint {said.number} of this tenant")
        elif known is not None and known != (said, row.signature):
            self.problems.append(f"checkpoint {said.number} is another one in the database than in the file")
        elif known is None and is_forged:
            self.problems.append(f"the signature of checkpoint {said.number} in the database does not hold")
        if root_of(row.head.leaf(), row.index, said.heads, row.proof) != said.root:
            self.problems.append(f"the proof of checkpoint {said.number} does not lead to its root")
            return
        self.marks.setdefault(row.head.seq, (row.head.hash, said.number))
        # Nobody vouches for a row whose signature could not be verified.
        is_vouched = known is not None or (key is not None and not is_forged)
        if is_vouched and (self.newest is None or self.newest.statement.number < said.number):
            self.newest = VerifiedCheckpoint(said, row.signature)
