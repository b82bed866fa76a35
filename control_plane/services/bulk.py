"""Carries out a BulkRequest (RFC 7644 section 3.7): many operations in few transactions, each with its own outcome.

The planner (``scim/bulk.py``) says in which order. Neighbours of one kind on distinct resources are a run, and a run is
one transaction. What a run must not do shows only when it is done: an operation fails that others of the run refer to,
or the last error that failOnErrors allows comes before the end. Then the transaction is rolled back and the run is
done again as it should have been: without what refers to a failure, and no further than that error.
So nothing past the limit is ever committed, and yet the usual bulk, in which all is well, is written in one go.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from control_plane.domain.errors import Contended, MusterError, Unavailable
from control_plane.domain.ids import ResourceId, TenantId, parse_resource_id
from control_plane.domain.resources import ResourceType
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.scim import bulk
from control_plane.scim.bulk import BulkOperation, Method, Plan
from control_plane.scim.errors import InternalError, ScimError, ServiceUnavailable, Uniqueness
from control_plane.scim.json_door import parse_object
from control_plane.scim.limits import MAX_BULK_KEYS
from control_plane.services import bulk_events
from control_plane.services.again import again
from control_plane.services.bulk_room import GROUP, Room, kind_of
from control_plane.services.caller import Caller
from control_plane.services.refusals import Refusals
from control_plane.services.relay import Relay
from control_plane.services.tenant_rules import TenantRules
from control_plane.services.writes import Batch, Create, Delete, Done, Outcome, Patch, Replace, Scope, Writer
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.marks import Raised

log = get_logger(__name__)

# How many operations one transaction has at most: other writers wait for its locks. Only a circle is never divided.
MAX_RUN = 200
# After so many runs in succession that could not reach the database, the rest is not tried: each try may take seconds.
MAX_OUTAGES = 2
# Nor what is left after so long: an answer that comes after the caller's deadline reports nothing of what was done.
MAX_TIME_S = 40.0
_STATUS = {Method.POST: 201, Method.PUT: 200, Method.PATCH: 200, Method.DELETE: 204}
_TYPES = {kind.scim_name: kind for kind in ResourceType}


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one operation.

    ``status`` is the one it would have had by itself. ``version`` is 0 when it failed or deleted. ``id`` is "" when
    nothing was created; of other operations it is the id in the path, if it is one.
    """

    method: str
    bulk_id: str
    type: ResourceType | None
    id: str
    version: int
    status: int
    scim_type: str = ""
    detail: str = ""


class BulkService:
    """The use case behind POST /Bulk."""

    def __init__(
        self, storage: Storage, clock: Clock, writer: Writer, relay: Relay, rules: TenantRules, refusals: Refusals
    ) -> None:
        self._storage, self._relay, self._rules, self._refusals = storage, relay, rules, refusals
        self._clock, self._writer = clock, writer

    async def write(self, caller: Caller, tenant: TenantId, document: str) -> list[BulkResult]:
        """Carry out the BulkRequest in ``document``; return results in its order, without what was not tried.

        Raises only what refuses the request as a whole: NotFound for the tenant, and as ``scim.bulk.plan``.
        """
        until = self._clock.monotonic() + MAX_TIME_S
        rules = await self._rules.get(tenant)
        # Up to 2 MiB: longer than the event loop should wait.
        plan = await asyncio.to_thread(_planned, document, rules.bulk.max_operations)
        scope = Scope(caller, tenant, rules)
        job = _Job(self._storage, self._relay, self._writer, scope, plan)
        try:
            while job.goes_on():
                if self._clock.monotonic() < until:
                    await job.step()
                else:
                    job.skip("not tried: the request takes too long, send what is left in another")
                # Other requests get their turn between two transactions.
                await asyncio.sleep(0)
        finally:
            await self._refusals.append(tenant, bulk_events.refused(self._clock, scope, job.refused()))
        return job.results()


def _planned(document: str, max_operations: int) -> Plan:
    return bulk.plan(parse_object(document, max_keys=MAX_BULK_KEYS), max_operations)


@dataclass(frozen=True, slots=True)
class _Task:
    """An operation on its turn, by its place in the request; with an ``error`` it has failed already."""

    at: int
    operation: BulkOperation
    error: ScimError | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """Operations for one transaction, in order; with the bulkIds of a ``circle``, all of them stand or none."""

    tasks: list[_Task]
    circle: frozenset[str] = frozenset()

    def open(self) -> list[_Task]:
        """Return those that have not failed already."""
        return [task for task in self.tasks if task.error is None]

    def failed(self, error: ScimError) -> list[tuple[_Task, Outcome]]:
        """Return the outcomes if none of it could be done."""
        return [(task, task.error or error) for task in self.tasks]


class _Again(Exception):
    """The transaction must not be committed as it is, but ``run`` be done instead."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self.run = run


class _Job:
    """One bulk request on its way."""

    def __init__(self, storage: Storage, relay: Relay, writer: Writer, scope: Scope, plan: Plan) -> None:
        self._storage, self._relay, self._writer, self._scope, self._plan = storage, relay, writer, scope, plan
        self._steps = deque(plan.steps)
        self._ids = self._given_ids()
        self._outcomes: dict[int, Outcome] = {}
        # The bulkIds of creations that failed.
        self._failed: set[str] = set()
        self._errors = self._outages = 0
        # So many of the next operations get a transaction each, since together they lost theirs.
        self._alone = 0

    def goes_on(self) -> bool:
        """Tell whether there is more to do, and not too much failed."""
        limit = self._plan.fail_on_errors
        return bool(self._steps) and (limit is None or self._errors < limit)

    async def step(self) -> None:
        """Carry out the next run."""
        if self._outages < MAX_OUTAGES:
            await self._settle(self._take())
        else:
            self.skip("not tried: the database cannot be reached")

    def skip(self, why: str) -> None:
        """Fail the next run without trying it."""
        run = self._take()
        self._record(self._allowed(run, run.failed(ServiceUnavailable(why))))

    def results(self) -> list[BulkResult]:
        """Return what became of the operations, in order of the request."""
        return [self._result(self._plan.operations[at], outcome) for at, outcome in sorted(self._outcomes.items())]

    def refused(self) -> list[tuple[BulkOperation, ScimError]]:
        """Return the operations that failed, and why."""
        outcomes = sorted(self._outcomes.items())
        return [(self._plan.operations[at], one) for at, one in outcomes if isinstance(one, ScimError)]

    def _given_ids(self) -> dict[str, str]:
        """Return the ids of the resources to create, by bulkId.

        They rise in the order of creation: lists show it, and of two equal userNames in one statement the first wins.
        """
        creations = [
            operation.bulk_id
            for step in self._plan.steps
            for operation in (self._plan.operations[at] for at in step)
            if operation.method == Method.POST and operation.error is None
        ]
        ids = sorted(self._writer.new_id() for _ in creations)
        return {bulk_id: str(given) for bulk_id, given in zip(creations, ids, strict=True)}

    def _take(self) -> _Run:
        """Take the next steps that can share a transaction."""
        if len(self._steps[0]) > 1:
            tasks = [self._task(at, self._failed) for at in self._steps.popleft()]
            return _Run(tasks, frozenset(task.operation.bulk_id for task in tasks))
        room = Room(is_strict=self._scope.rules.compatibility.reject_unknown_members)
        tasks, failed, limit = list[_Task](), set(self._failed), 1 if self._alone else MAX_RUN
        while self._steps and len(self._steps[0]) == 1 and len(tasks) < limit:
            task = self._task(self._steps[0][0], failed)
            if task.error is not None:
                failed |= _created(task.operation)
            elif not room.takes(task.operation, self._target(task.operation)):
                break
            tasks.append(task)
            self._steps.popleft()
        self._alone = max(self._alone - 1, 0)
        return _Run(tasks)

    def _task(self, at: int, failed: set[str]) -> _Task:
        operation = self._plan.operations[at]
        broken = min(operation.references & failed, default=None)
        return _Task(at, operation, operation.error or (bulk.not_created(broken) if broken is not None else None))

    async def _settle(self, run: _Run) -> None:
        """Carry a run out and write down what became of it."""
        try:
            outcomes = await again(lambda: self._committed(run))
        except Contended:
            # The database answers, so this is no outage; and one by one they are less in the way of others.
            self._outages = 0
            if self._divided(run):
                return
            outcomes = run.failed(ServiceUnavailable("other writers were in the way: nothing was done, try again"))
        except Unavailable as err:
            self._outages += 1
            # It may have been lost on the way back from the commit.
            outcomes = run.failed(ServiceUnavailable(f"{err}; it is not certain that this was not done"))
        except Exception as err:
            if not isinstance(err, ScimError | MusterError):
                log.exception("bulk operations failed", operations=len(run.tasks))
            # One of them loses the transaction for all. Only one by one shows which.
            if self._divided(run):
                return
            reference = f"internal error, reference {self._scope.caller.request_id}"
            outcomes = run.failed(err if isinstance(err, ScimError) else InternalError(reference))
        self._record(outcomes)

    def _divided(self, run: _Run) -> bool:
        """Put the operations of a run back, to be done one by one; return False if they cannot be."""
        if run.circle or len(run.open()) < 2:
            return False
        self._steps.extendleft((task.at,) for task in reversed(run.tasks))
        self._alone = len(run.tasks)
        return True

    def _record(self, outcomes: Sequence[tuple[_Task, Outcome]]) -> None:
        for task, outcome in outcomes:
            self._outcomes[task.at] = outcome
            if isinstance(outcome, ScimError):
                self._errors += 1
                self._failed |= _created(task.operation)

    async def _committed(self, run: _Run) -> list[tuple[_Task, Outcome]]:
        """Return the outcomes of a run as it was committed; what failOnErrors forbids to try is missing from them."""
        while True:
            if not run.open():
                return self._allowed(run, [(task, task.error) for task in run.tasks if task.error is not None])
            try:
                async with self._storage.begin(self._scope.tenant) as tx:
                    written, raised = await self._write(tx, run)
                    judged = _judged(run, written)
                    # Of a circle, even what was created and failed afterwards.
                    if _done(judged) < (len(written) if run.circle else sum(isinstance(one, Done) for one in written)):
                        raise _Again(_without_failures(run, judged))
                    allowed = self._allowed(run, judged)
                    if _done(allowed) < _done(judged):
                        raise _Again(replace(run, tasks=[replace(task, error=_error(one)) for task, one in allowed]))
            except _Again as again_:
                run = again_.run
            else:
                self._outages = 0
                self._relay.push(raised)
                return allowed

    def _allowed(self, run: _Run, outcomes: list[tuple[_Task, Outcome]]) -> list[tuple[_Task, Outcome]]:
        """Return the outcomes up to the last error that failOnErrors allows.

        All of a circle: they have one cause, which should be among them.
        """
        limit = self._plan.fail_on_errors
        if limit is None or run.circle:
            return outcomes
        errors = self._errors
        for count, (_, outcome) in enumerate(outcomes, 1):
            errors += isinstance(outcome, ScimError)
            if errors >= limit:
                return outcomes[:count]
        return outcomes

    async def _write(self, tx: Tx, run: _Run) -> tuple[list[Outcome], tuple[Raised, ...]]:
        """Do a run in a transaction. Return an outcome for each task, and what to push after the commit."""
        outcomes: dict[int, Outcome] = {task.at: task.error for task in run.tasks if task.error is not None}
        # All in one batch, however large the circle: a transaction claims its unique values only once (uniqueness.py).
        batch = await self._send(tx, [task.operation for task in run.open()], run.circle)
        outcomes.update(zip([task.at for task in run.open()], batch.outcomes, strict=True))
        raised = batch.raised
        # The members within a circle of groups, now that all of them exist.
        later = [(task.at, change) for task in run.open() for change in self._deferred(task.operation, run.circle)]
        if later := [one for one in later if isinstance(outcomes[one[0]], Done)]:
            batch = await self._writer.change(tx, self._scope, [change for _, change in later])
            outcomes.update(zip([at for at, _ in later], batch.outcomes, strict=True))
            raised += batch.raised
        return [outcomes[task.at] for task in run.tasks], raised

    async def _send(self, tx: Tx, operations: Sequence[BulkOperation], circle: frozenset[str]) -> Batch:
        """Do operations of one kind."""
        match kind_of(operations[0]):
            case Method.POST:
                return await self._writer.create(tx, self._scope, [self._create(one, circle) for one in operations])
            case Method.DELETE:
                deletions = [Delete(_TYPES[one.type_name], self._target(one), one.if_match) for one in operations]
                return await self._writer.delete(tx, self._scope, deletions)
            case _:
                return await self._writer.change(tx, self._scope, [self._change(one) for one in operations])

    def _create(self, operation: BulkOperation, circle: frozenset[str]) -> Create:
        data = operation.data
        if circle and operation.type_name == GROUP:
            data, _ = bulk.split_members(data, circle)
        body = bulk.resolved(data, self._ids) if operation.references else data
        return Create(_TYPES[operation.type_name], body, ResourceId(UUID(self._ids[operation.bulk_id])))

    def _change(self, operation: BulkOperation) -> Replace | Patch:
        kind = Replace if operation.method == Method.PUT else Patch
        body = bulk.resolved(operation.data, self._ids) if operation.references else operation.data
        return kind(_TYPES[operation.type_name], self._target(operation), body, operation.if_match)

    def _deferred(self, operation: BulkOperation, circle: frozenset[str]) -> Iterator[Patch]:
        """Yield what adds the members that a group in a circle was created without."""
        members = bulk.split_members(operation.data, circle)[1] if circle and operation.type_name == GROUP else []
        if members:
            body = bulk.resolved(bulk.adding_members(members), self._ids)
            yield Patch(ResourceType.GROUP, self._ids[operation.bulk_id], body)

    def _target(self, operation: BulkOperation) -> str:
        """Return the id of the resource that an operation creates or names."""
        if operation.method == Method.POST:
            return self._ids[operation.bulk_id]
        return bulk.resolved_id(operation, self._ids)

    def _result(self, operation: BulkOperation, outcome: Outcome) -> BulkResult:
        kind = _TYPES.get(operation.type_name)
        if isinstance(outcome, Done):
            method, made = Method(operation.method), outcome.resource
            version = 0 if method is Method.DELETE else made.version
            return BulkResult(method, operation.bulk_id, kind, str(made.id), version, _STATUS[method])
        said = outcome.scim_type or "", outcome.detail
        return BulkResult(operation.method, operation.bulk_id, kind, self._named(operation), 0, outcome.status, *said)

    def _named(self, operation: BulkOperation) -> str:
        """Return the id for the answer of an operation that failed, "" if it named none.

        RFC 7644 section 3.7: "location" is required, "except in the event of a POST failure".
        """
        named = operation.id
        if named.startswith(bulk.PREFIX):
            bulk_id = named.removeprefix(bulk.PREFIX)
            named = "" if bulk_id in self._failed else self._ids.get(bulk_id, "")
        return named if parse_resource_id(named) is not None else ""


def _judged(run: _Run, written: Sequence[Outcome]) -> list[tuple[_Task, Outcome]]:
    """Return the outcomes, with a failure also for what refers to one, directly or through others."""
    failed, found = set[str](), list[tuple[_Task, Outcome]]()
    if run.circle:
        # Here everything refers to everything.
        failed.update(*(_created(task.operation) for task, one in zip(run.tasks, written, strict=True) if _error(one)))
    for task, outcome in zip(run.tasks, written, strict=True):
        # Outside a circle references lead backwards only.
        broken = min(failed if run.circle else failed & task.operation.references, default=None)
        one = bulk.not_created(broken) if broken is not None and isinstance(outcome, Done) else outcome
        found.append((task, one))
        if isinstance(one, ScimError):
            failed |= _created(task.operation)
    return found


def _without_failures(run: _Run, judged: Sequence[tuple[_Task, Outcome]]) -> _Run:
    """Return the run without what failed; but a value may be free now that who had it does not stay."""
    errors = [_error(outcome) for _, outcome in judged]
    return replace(
        run,
        tasks=[
            replace(task, error=None if isinstance(error, Uniqueness) and not run.circle else error)
            for (task, _), error in zip(judged, errors, strict=True)
        ],
    )


def _done(outcomes: Sequence[tuple[_Task, Outcome]]) -> int:
    return sum(isinstance(outcome, Done) for _, outcome in outcomes)


def _error(outcome: Outcome) -> ScimError | None:
    return outcome if isinstance(outcome, ScimError) else None


def _created(operation: BulkOperation) -> set[str]:
    """Return the bulkId that others may refer to."""
    return {operation.bulk_id} if operation.method == Method.POST and operation.bulk_id else set()
