"""What only a checkpoint outside the database can tell; and how old events expire without a trace of tampering."""

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from control_plane.domain.audit_chain import canonical, genesis, link_hash
from control_plane.domain.audit_check import ProblemKind
from control_plane.domain.checkpoints import SigningKey, parse_line
from control_plane.domain.errors import FailedPrecondition
from control_plane.domain.ids import SYSTEM_TENANT
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.services.audit_expiry import Expired
from control_plane.storage.engine import Storage
from tests.fixtures.postgres import Database
from tests.storage.audit_world import AUDITOR, AuditWorld, make_audit_world

MISSING, CUT_OFF, CHECKPOINT = ProblemKind.MISSING, ProblemKind.CUT_OFF, ProblemKind.CHECKPOINT


@pytest_asyncio.fixture
async def trail(storage: Storage, database: Database, tmp_path: Path) -> AuditWorld:
    return await make_audit_world(storage, database, tmp_path)


async def test_a_checkpoint_stands_in_the_file_and_in_the_database(trail: AuditWorld) -> None:
    await trail.write(3)
    made = await trail.checkpoints.create(AUDITOR)
    (line,) = trail.file.read_bytes().splitlines(keepends=True)
    assert parse_line(line) == made
    assert trail.file.stat().st_mode & 0o777 == 0o640
    rows = await trail.read("SELECT number, seq FROM audit_checkpoints WHERE tenant_id = %(tenant)s")
    assert rows == [(made.statement.number, 3)]
    verdict = await trail.verify()
    assert verdict.problems == ()
    assert verdict.checkpoint is not None
    assert verdict.checkpoint.statement == made.statement
    recorded = await trail.read("SELECT actor_id FROM audit_events WHERE action = 'audit.checkpoint'")
    assert ("olga",) in recorded


async def test_a_line_lists_only_the_heads_that_changed(trail: AuditWorld) -> None:
    await trail.write(1)
    first = await trail.checkpoints.create(AUDITOR)
    await trail.sealer.run_once()
    await trail.checkpoints.create(AUDITOR)
    await trail.write(1)
    third = await trail.checkpoints.create(AUDITOR)
    assert trail.tenant in {one.tenant for one in first.changed}
    assert {one.tenant for one in third.changed} <= {trail.tenant, SYSTEM_TENANT}
    assert third.statement.heads >= first.statement.heads
    assert await trail.found() == []


async def test_one_is_due_after_its_interval(trail: AuditWorld) -> None:
    await trail.write(1)
    assert await trail.checkpoints.run_once() is not None
    assert await trail.checkpoints.run_once() is None
    assert await trail.restarted_checkpoints().run_once() is None
    trail.clock.advance(3600)
    assert await trail.restarted_checkpoints().run_once() is not None


async def test_numbers_go_on_after_a_restart(trail: AuditWorld) -> None:
    await trail.write(1)
    numbers = [(await trail.restarted_checkpoints().create(AUDITOR)).statement.number for _ in range(3)]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]
    assert await trail.found() == []


async def test_rows_that_a_crash_prevented_are_stored_with_the_next(
    trail: AuditWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trail.write(2)

    async def crash() -> None:
        raise RuntimeError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(trail.checkpoints, "_store", crash)
        with pytest.raises(RuntimeError):
            await trail.checkpoints.create(AUDITOR)
    assert await trail.read("SELECT FROM audit_checkpoints WHERE tenant_id = %(tenant)s") == []
    await trail.restarted_checkpoints().create(AUDITOR)
    assert await trail.read("SELECT seq FROM audit_checkpoints WHERE tenant_id = %(tenant)s") == [(2,)]
    assert await trail.found() == []


async def test_a_line_that_a_crash_cut_off_is_reported_until_the_next_one(trail: AuditWorld) -> None:
    await trail.write(1)
    await trail.checkpoints.create(AUDITOR)
    with trail.file.open("ab") as file:
        file.write(b'{"statement": {"num')
    assert await trail.found() == [(CHECKPOINT, 0)]
    await trail.restarted_checkpoints().create(AUDITOR)
    assert await trail.found() == []


async def test_a_tail_cut_off_with_head_and_links_is_found_by_the_checkpoint(trail: AuditWorld) -> None:
    await trail.write(6)
    await trail.checkpoints.create(AUDITOR)
    await cut(trail, 4)
    assert await trail.found() == [(CUT_OFF, 5)]
    # Also by the rows alone, where somebody has no file.
    without = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    assert await trail.found(without) == [(CUT_OFF, 5)]
    # And by the file alone.
    await trail.tamper("DELETE FROM audit_checkpoints WHERE tenant_id = %(tenant)s")
    assert await trail.found() == [(CUT_OFF, 5)]
    # A later checkpoint does not forget it.
    await trail.restarted_checkpoints().create(AUDITOR)
    assert await trail.found() == [(CUT_OFF, 5)]


async def cut(trail: AuditWorld, seq: int) -> None:
    """Take everything behind ``seq`` away, as if it had never been."""
    await trail.tamper(
        """DELETE FROM audit_events e USING audit_chain c
           WHERE c.event_id = e.id AND c.tenant_id = %(tenant)s AND c.seq > %(seq)s""",
        "DELETE FROM audit_chain WHERE tenant_id = %(tenant)s AND seq > %(seq)s",
        """UPDATE audit_heads h SET seq = c.seq, hash = c.hash FROM audit_chain c
           WHERE h.tenant_id = %(tenant)s AND c.tenant_id = %(tenant)s AND c.seq = %(seq)s""",
        seq=seq,
    )


async def test_the_whole_trail_gone_is_found_by_the_checkpoint(trail: AuditWorld) -> None:
    await trail.write(2)
    await trail.checkpoints.create(AUDITOR)
    for table in ("audit_events", "audit_chain", "audit_heads", "audit_checkpoints"):
        await trail.tamper(f"DELETE FROM {table} WHERE tenant_id = %(tenant)s")
    assert await trail.found() == [(CUT_OFF, 1)]


async def test_a_chain_rewritten_as_a_whole_is_found_by_the_checkpoint(trail: AuditWorld) -> None:
    events = await trail.write(6)
    await trail.checkpoints.create(AUDITOR)
    await trail.write(2)
    await trail.tamper("UPDATE audit_events SET actor_id = 'nobody' WHERE id = %(id)s", id=events[3].id)
    await rechain(trail)
    without = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    await trail.tamper("DELETE FROM audit_checkpoints WHERE tenant_id = %(tenant)s")
    assert await trail.found(without) == [], "consistent in itself: nothing but a checkpoint can tell"
    assert await trail.found() == [(CUT_OFF, 6)]


async def rechain(trail: AuditWorld) -> None:
    """Compute every hash again, as somebody would who knows how."""
    previous = genesis(trail.tenant)
    async with trail.tampering() as connection:
        for link in await trail.links():
            assert link.content is not None
            previous = link_hash(previous, canonical(link.seq, link.content))
            await connection.execute(
                "UPDATE audit_chain SET hash = %s WHERE tenant_id = %s AND seq = %s",
                (previous, trail.tenant, link.seq),
            )
        await connection.execute("UPDATE audit_heads SET hash = %s WHERE tenant_id = %s", (previous, trail.tenant))


async def test_tampering_with_checkpoints_is_found(trail: AuditWorld) -> None:
    await trail.write(2)
    await trail.checkpoints.create(AUDITOR)
    await trail.write(2)
    await trail.checkpoints.create(AUDITOR)
    whole = trail.file.read_bytes()
    lines = whole.splitlines(keepends=True)
    damages = {
        "a line taken out": lines[1:],
        "a line twice": [lines[0], *lines],
        "the order": lines[::-1],
        "a statement": [lines[0].replace(b'"heads":', b'"heads":1'), lines[1]],
        "a head": [lines[0], lines[1].replace(b",4,", b",5,")],
        "the end cut off": [lines[0]],
        "everything": [],
    }
    for damage, changed in damages.items():
        trail.file.write_bytes(b"".join(changed))
        kinds = {kind for kind, _ in await trail.found()}
        assert CHECKPOINT in kinds, damage
    trail.file.write_bytes(whole)
    for statement in ("signature = sha512('x')", "root = sha256('x')", "proof = '{}'", "hash = sha256('x')", "seq = 1"):
        before = await trail.read("SELECT * FROM audit_checkpoints WHERE tenant_id = %(tenant)s AND seq = 4")
        await trail.tamper(f"UPDATE audit_checkpoints SET {statement} WHERE tenant_id = %(tenant)s AND seq = 4")
        assert CHECKPOINT in {kind for kind, _ in await trail.found()}, statement
        await trail.tamper("DELETE FROM audit_checkpoints WHERE tenant_id = %(tenant)s AND seq <> 2")
        async with trail.tampering() as connection:
            await connection.execute(f"INSERT INTO audit_checkpoints VALUES ({','.join(['%s'] * 12)})", before[0])
    assert await trail.found() == []


async def test_another_key_signs_on_and_vouches_for_the_first(trail: AuditWorld) -> None:
    await trail.write(1)
    await trail.checkpoints.create(AUDITOR)
    newer = trail.restarted_checkpoints(SigningKey(b"n" * 32))
    assert await trail.found(newer) == [(CHECKPOINT, 0)], "nothing that the new key signed yet"
    await trail.write(1)
    await newer.create(AUDITOR)
    assert await trail.found(newer) == []


async def test_without_configuration_there_is_no_checkpoint(trail: AuditWorld) -> None:
    without = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    assert await without.run_once() is None
    with pytest.raises(FailedPrecondition):
        await without.create(AUDITOR)
    with pytest.raises(FailedPrecondition):
        without.public_key()


async def test_what_is_old_expires_and_the_rest_is_whole(trail: AuditWorld) -> None:
    trail.checkpoints = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    await trail.write(4)
    trail.clock.advance(timedelta(days=300).total_seconds())
    await trail.write(2)
    now = trail.clock.now() + timedelta(days=101)
    await trail.expiry.run_once(now)
    assert await trail.expiry.run_once(now) == Expired()
    await trail.sealer.run_once()
    verdict = await trail.verify()
    assert (verdict.problems, verdict.verified, verdict.last_seq) == ((), 3, 7)
    ((details,),) = await trail.read(
        "SELECT details FROM audit_events WHERE tenant_id = %(tenant)s AND action = 'audit.expire'"
    )
    assert (details["first_seq"], details["last_seq"], details["events"]) == (1, 4, 4)


async def test_a_tenant_says_how_long_it_keeps_its_trail(trail: AuditWorld) -> None:
    trail.checkpoints = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    await trail.write(2)
    await trail.tamper("UPDATE tenants SET audit_retention_days = 30 WHERE id = %(tenant)s")
    for days, left in ((29, 2), (31, 0)):
        await trail.expiry.run_once(trail.clock.now() + timedelta(days=days))
        assert len(await trail.links()) == left


async def test_only_what_a_checkpoint_covers_expires(trail: AuditWorld) -> None:
    await trail.write(3)
    due = trail.clock.now() + timedelta(days=401)
    await trail.expiry.run_once(due)
    assert len(await trail.links()) == 3
    await trail.checkpoints.create(AUDITOR)
    await trail.write(2)
    await trail.expiry.run_once(due)
    await trail.sealer.run_once()
    verdict = await trail.verify()
    assert (verdict.problems, verdict.verified, verdict.last_seq) == ((), 3, 6)


async def test_a_forged_time_stops_no_expiry(trail: AuditWorld) -> None:
    trail.checkpoints = AuditCheckpoints(trail.storage, None, trail.metrics, trail.clock)
    events = await trail.write(3)
    forged = "UPDATE audit_events SET at = %(at)s::timestamptz WHERE id = %(id)s"
    for one, at in zip(events, ("0044-03-15 BC", "-infinity", "infinity"), strict=True):
        await trail.tamper(forged, id=one.id, at=at)
    await trail.expiry.run_once(trail.clock.now())
    assert [link.seq for link in await trail.links()] == [3]


async def test_a_beginning_that_nobody_accounts_for_is_found(trail: AuditWorld) -> None:
    await trail.write(5)
    await trail.tamper(
        """DELETE FROM audit_events e USING audit_chain c
           WHERE c.event_id = e.id AND c.tenant_id = %(tenant)s AND c.seq <= 2""",
        """UPDATE audit_heads h SET first_seq = 3, first_hash = c.hash FROM audit_chain c
           WHERE h.tenant_id = %(tenant)s AND c.tenant_id = %(tenant)s AND c.seq = 2""",
        "DELETE FROM audit_chain WHERE tenant_id = %(tenant)s AND seq <= 2",
    )
    assert await trail.found() == [(MISSING, 2)]
