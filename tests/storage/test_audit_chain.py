"""The chain tells what a superuser does to the trail, and where; sealing loses and repeats nothing."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from control_plane.domain.audit_chain import canonical, event_of, genesis, link_hash, readable
from control_plane.domain.audit_check import ProblemKind
from control_plane.domain.errors import NotFound
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.services import audit_verify
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.services.audit_sealer import CHANNEL, AuditSealer, Sealed
from control_plane.storage import audit, audit_chain
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database
from tests.storage.audit_world import AuditWorld, event, make_audit_world
from tests.storage.world import connected, make_tenant

CHANGED, MISSING, BROKEN_LINK = ProblemKind.CHANGED, ProblemKind.MISSING, ProblemKind.BROKEN_LINK
CUT_OFF, UNSEALED, CHECKPOINT = ProblemKind.CUT_OFF, ProblemKind.UNSEALED, ProblemKind.CHECKPOINT


@pytest_asyncio.fixture
async def trail(storage: Storage, database: Database, tmp_path: Path) -> AuditWorld:
    return await make_audit_world(storage, database, tmp_path)


async def test_committed_events_are_chained_in_the_order_of_their_ids(trail: AuditWorld) -> None:
    events = await trail.write(3, seal=False)
    assert await trail.sealer.run_once() == Sealed(events=3)
    links = await trail.links()
    assert [link.seq for link in links] == [1, 2, 3]
    assert [event_of(link).id for link in links] == [one.id for one in events]
    previous = genesis(trail.tenant)
    for link in links:
        assert link.content is not None
        assert link.hash == link_hash(previous, canonical(link.seq, link.content))
        previous = link.hash
    assert await trail.read("SELECT FROM audit_pending WHERE tenant_id = %(tenant)s") == []
    assert await trail.sealer.run_once() == Sealed()
    verdict = await trail.verify()
    assert (verdict.verified, verdict.total, verdict.last_seq, verdict.problems) == (3, 3, 3, ())


async def test_each_tenant_has_a_chain_of_its_own(trail: AuditWorld) -> None:
    other = await make_tenant(trail.storage)
    now = trail.clock.now()
    for tenant in (trail.tenant, other, SYSTEM_TENANT):
        async with trail.storage.begin(tenant) as tx:
            await audit.append(tx, [event(tenant, now), event(tenant, now)])
    assert (await trail.sealer.run_once()).events == 6
    for tenant in (trail.tenant, other):
        async with trail.storage.begin(tenant) as tx:
            head = await audit_chain.head(tx)
        assert head is not None
        assert (head.tenant, head.seq, head.first_seq) == (tenant, 2, 1)


async def test_an_event_that_commits_late_gets_a_later_place(trail: AuditWorld) -> None:
    early = event(trail.tenant, trail.clock.now())
    trail.clock.advance(5)
    (late,) = await trail.write(1)
    async with trail.storage.begin(trail.tenant) as tx:
        await audit.append(tx, [early])
    await trail.sealer.run_once()
    assert [event_of(link).id for link in await trail.links()] == [late.id, early.id]
    assert await trail.found() == []


async def test_a_crash_before_the_commit_changes_nothing(trail: AuditWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await trail.write(2, seal=False)

    async def crash(*_: object) -> None:
        raise RuntimeError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(trail.storage, "notify", crash)
        with pytest.raises(RuntimeError):
            await trail.sealer.run_once()
    assert await trail.links() == []
    assert (await trail.sealer.run_once()).events == 2
    assert await trail.found() == []


async def test_others_stand_by_while_one_seals(trail: AuditWorld) -> None:
    await trail.write(1, seal=False)
    async with trail.storage.begin_keeper([trail.tenant]) as tx:
        assert await audit_chain.try_lock(tx, audit_chain.SEALER_LOCK)
        assert (await trail.sealer.run_once()).is_standby
    assert (await trail.sealer.run_once()).events == 1


async def test_many_sealers_at_once_seal_each_event_once(trail: AuditWorld) -> None:
    await trail.write(40, seal=False)
    sealers = [AuditSealer(trail.storage, trail.metrics, trail.clock) for _ in range(4)]
    done = await asyncio.gather(*(one.run_once() for one in sealers))
    assert sum(one.events for one in done) == 40
    assert await trail.found() == []


async def test_the_sealer_tells_how_far_behind_it_is(trail: AuditWorld) -> None:
    registry = trail.metrics.registry
    await trail.write(3, seal=False)
    trail.clock.advance(7)
    await trail.sealer.run_once()
    assert registry.get_sample_value("scim_audit_pending") == 3
    assert registry.get_sample_value("scim_audit_seal_lag_seconds") == pytest.approx(10, abs=0.01)
    await trail.sealer.run_once()
    assert registry.get_sample_value("scim_audit_pending") == 0
    assert registry.get_sample_value("scim_audit_seal_lag_seconds") == 0


async def test_a_batch_is_told_once_with_its_tenants(trail: AuditWorld) -> None:
    messages = trail.storage.listen(CHANNEL)
    assert await anext(messages) is None
    await trail.write(3)
    told = [message async for message in _until_told(messages)]
    assert told == [str(trail.tenant)]
    await messages.aclose()


async def _until_told(messages: Any) -> Any:
    async for message in messages:
        if message:
            yield message
            return


# What a superuser may do, and what a verification says then.
TAMPERING = (
    ("UPDATE audit_events SET action = 'user.delete' WHERE id = %(third)s", [(CHANGED, 3)]),
    ("UPDATE audit_events SET commitment = '\\x00' WHERE id = %(third)s", [(CHANGED, 3)]),
    ("UPDATE audit_events SET at = 'infinity', actor_type = 99 WHERE id = %(third)s", [(CHANGED, 3)]),
    ("""UPDATE audit_events SET details = '{"n": 1e400}' WHERE id = %(third)s""", [(CHANGED, 3)]),
    (
        """UPDATE audit_events
        SET at = (to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' BC UTC')::timestamptz
        WHERE id = %(third)s""",
        [(CHANGED, 3)],
    ),
    (
        """UPDATE audit_events SET details = (repeat('{"a":', 300) || '1' || repeat('}', 300))::jsonb
        WHERE id = %(third)s""",
        [(CHANGED, 3)],
    ),
    (
        """UPDATE audit_events e SET action = o.action, details = o.details, at = o.at, resource_id = o.resource_id
        FROM audit_events o WHERE (e.id, o.id) IN ((%(third)s, %(last)s), (%(last)s, %(third)s))""",
        [(CHANGED, 3), (CHANGED, 6)],
    ),
    ("UPDATE audit_events SET reason = 'x' WHERE id = %(last)s", [(CHANGED, 6)]),
    ("DELETE FROM audit_events WHERE id = %(third)s", [(MISSING, 3)]),
    ("DELETE FROM audit_chain WHERE event_id = %(third)s", [(BROKEN_LINK, 3), (UNSEALED, 0)]),
    ("UPDATE audit_chain SET hash = sha256('x') WHERE event_id = %(third)s", [(BROKEN_LINK, 3)]),
    ("UPDATE audit_chain SET hash = sha256('x') WHERE event_id = %(last)s", [(BROKEN_LINK, 6)]),
    ("UPDATE audit_heads SET hash = sha256('x') WHERE tenant_id = %(tenant)s", [(BROKEN_LINK, 6)]),
    ("DELETE FROM audit_heads WHERE tenant_id = %(tenant)s", [(BROKEN_LINK, 6)]),
    ("UPDATE audit_heads SET seq = 4 WHERE tenant_id = %(tenant)s", [(BROKEN_LINK, 5), (BROKEN_LINK, 4)]),
    ("DELETE FROM audit_chain WHERE event_id = %(last)s", [(CUT_OFF, 6), (UNSEALED, 0)]),
    (
        """
        INSERT INTO audit_events (id, tenant_id, at, actor_type, actor_id, actor_address, action, resource_type,
                                  resource_id, outcome, reason, request_id, details)
        VALUES (uuidv7(), %(tenant)s, now(), 2, 'admin', '', 'token.create', 'token', 'x', 1, '', '', '{}')
        """,
        [(UNSEALED, 0)],
    ),
)


@pytest.mark.parametrize(("statement", "expected"), TAMPERING)
async def test_tampering_is_found_where_it_was_done(
    trail: AuditWorld, statement: Any, expected: list[tuple[ProblemKind, int]]
) -> None:
    events = await trail.write(6)
    await trail.tamper(statement, third=events[2].id, last=events[-1].id)
    problems = await trail.problems()
    assert [(one.kind, one.seq) for one in problems] == expected
    if expected == [(CHANGED, 3)]:
        assert problems[0].event_id == str(events[2].id)
    assert trail.metrics.registry.get_sample_value("scim_audit_chain_verify_failures_total") == 1


async def test_a_forged_event_before_the_beginning_is_found(trail: AuditWorld) -> None:
    await trail.write(2)
    forged = event(trail.tenant, trail.clock.now())
    async with trail.storage.begin(trail.tenant) as tx:
        await audit.append(tx, [forged])
    await trail.tamper(
        "DELETE FROM audit_pending WHERE tenant_id = %(tenant)s",
        "INSERT INTO audit_chain VALUES (%(tenant)s, 0, %(forged)s, sha256('x'))",
        forged=forged.id,
    )
    assert await trail.found() == [(BROKEN_LINK, 0)]


async def test_a_swap_of_two_events_is_found(trail: AuditWorld) -> None:
    events = await trail.write(4)
    await trail.tamper(
        "UPDATE audit_chain SET event_id = %(spare)s WHERE event_id = %(a)s",
        "UPDATE audit_chain SET event_id = %(a)s WHERE event_id = %(b)s",
        "UPDATE audit_chain SET event_id = %(b)s WHERE event_id = %(spare)s",
        a=events[1].id, b=events[2].id, spare=UUID(int=1),
    )  # fmt: skip
    assert await trail.found() == [(CHANGED, 2), (CHANGED, 3)]


async def test_an_event_deleted_before_its_seal_leaves_its_absence(trail: AuditWorld) -> None:
    events = await trail.write(3, seal=False)
    await trail.tamper("DELETE FROM audit_events WHERE id = %(id)s", id=events[1].id)
    assert await trail.sealer.run_once() == Sealed(events=3, missing=1)
    problems = await trail.problems()
    assert [(one.kind, one.seq, one.event_id) for one in problems] == [(MISSING, 2, str(events[1].id))]


async def test_what_waits_for_its_seal_is_no_finding(trail: AuditWorld) -> None:
    await trail.write(2)
    await trail.write(2, seal=False)
    verdict = await trail.verify()
    assert (verdict.verified, verdict.problems) == (2, ())


async def test_progress_is_told(trail: AuditWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_verify, "PAGE", 3)
    monkeypatch.setattr(audit_verify, "PROGRESS_EVENTS", 6)
    await trail.write(10)
    verifier = audit_verify.AuditVerifier(trail.storage, trail.checkpoints, trail.metrics, trail.clock)
    steps = [step async for step in verifier.verify(trail.tenant)]
    assert [(step.verified, step.total, step.is_done) for step in steps] == [(6, 10, False), (10, 10, True)]


async def test_a_trail_of_nobody_is_not_found(trail: AuditWorld) -> None:
    trail.tenant = TenantId(UUID(int=7))
    with pytest.raises(NotFound):
        await trail.verify()


async def test_the_guards_hold_against_everybody_who_leaves_them_on(trail: AuditWorld) -> None:
    """Grants for the runtime roles, the trigger for the owner and the superuser."""
    await trail.write(1)
    statements = ("UPDATE audit_events SET reason = 'x'", "DELETE FROM audit_events", "DELETE FROM audit_chain",
                  "TRUNCATE audit_events", "TRUNCATE audit_chain")  # fmt: skip
    async with connected(trail.database.superuser_url) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)
    assert await trail.found() == []


@pytest.mark.parametrize(
    "damage",
    ["UPDATE audit_heads SET seq = 1", "DELETE FROM audit_heads", f"UPDATE audit_heads SET seq = {2**63 - 1}",
     "UPDATE audit_heads SET seq = -7", "INSERT INTO audit_pending SELECT event_id, tenant_id FROM audit_chain"],
)  # fmt: skip
async def test_a_tampered_head_stops_no_sealing(trail: AuditWorld, damage: str) -> None:
    await trail.write(3)
    await trail.tamper(f"{damage} WHERE tenant_id = %(tenant)s")
    await trail.write(1)
    assert [link.seq for link in await trail.links()] == [1, 2, 3, 4]
    assert await trail.found() == []


async def test_a_forged_event_stops_no_sealing(trail: AuditWorld) -> None:
    events = await trail.write(2, seal=False)
    deep = "UPDATE audit_events SET details = (repeat('[', 300) || repeat(']', 300))::jsonb WHERE id = %(id)s"
    await trail.tamper(deep, id=events[0].id)
    assert await trail.sealer.run_once() == Sealed(events=2)
    assert [len(readable([link])) for link in await trail.links()] == [0, 1]


async def test_what_expires_during_a_verification_is_no_finding(
    trail: AuditWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verify, "PAGE", 2)
    monkeypatch.setattr(audit_verify, "PROGRESS_EVENTS", 2)
    trail.checkpoints = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    await trail.write(8)
    trail.clock.advance(timedelta(days=200).total_seconds())
    await trail.write(3)
    verifier = audit_verify.AuditVerifier(trail.storage, trail.checkpoints, trail.metrics, trail.clock)
    steps = verifier.verify(trail.tenant)
    assert not (await anext(steps)).is_done
    await trail.expiry.run_once(trail.clock.now() + timedelta(days=201))
    assert [step.problems async for step in steps][-1] == ()
    assert [link.seq for link in await trail.links()] == [9, 10, 11]
