"""Tenants, tokens, targets, the audit trail and the epoch."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import LiteralString

import pytest

from control_plane.domain.audit import Actor, ActorType, AuditEvent, AuditQuery, Outcome
from control_plane.domain.errors import MusterError, NotFound
from control_plane.domain.ids import EventId, TargetId, TokenId, uuid7
from control_plane.domain.targets import TargetState
from control_plane.domain.tenants import Tenant
from control_plane.domain.tokens import Scope, Token
from control_plane.storage import audit, queue_state, targets, tenants, tokens
from control_plane.storage.engine import Storage
from tests.storage.world import NOW, World, later, make_tenant, new_id, target_of


async def test_tenants_are_listed_in_order_by_the_batch_role(storage: Storage) -> None:
    made = [await make_tenant(storage) for _ in range(3)]
    async with storage.begin_batch(()) as tx:
        rest = await tenants.list_after(tx, made[0], 9)
        everyone = await tenants.list_after(tx, None, 1000)
    assert [one.id for one in rest] == made[1:]
    assert [one.id for one in everyone][-3:] == made
    async with storage.begin(made[0]) as tx:
        assert await tenants.get(tx, made[0]) == Tenant(made[0], "Acme", NOW)
        assert await tenants.list_after(tx, None, 9) == [Tenant(made[0], "Acme", NOW)]


async def test_tokens(storage: Storage, world: World) -> None:
    made = [
        Token(
            TokenId(new_id()),
            world.tenant,
            f"key-{number}",
            "Okta",
            (Scope.READ, Scope.WRITE),
            "h",
            NOW,
            60,
            None,
            None,
        )
        for number in range(3)
    ]
    async with storage.begin(world.tenant) as tx:
        for token in made:
            await tokens.insert(tx, token)
        assert await tokens.get(tx, made[0].id, lock=True) == made[0]
        assert await tokens.get(tx, TokenId(new_id())) is None
        newest = await tokens.list_before(tx, None, 2)
        assert newest == [made[2], made[1]]
        assert await tokens.list_before(tx, newest[-1].id, 2) == [made[0]]
        await tokens.set_revoked(tx, made[0].id, later(1))
        await tokens.set_expires(tx, made[1].id, later(2))
        assert await tokens.get(tx, made[1].id) == replace(made[1], expires_at=later(2))
    async with storage.begin_batch((), token_key="key-0") as tx:
        found = (await tokens.find_by_key_ids(tx, ["key-0"])).get("key-0")
        assert found is not None
        assert found[0] == replace(made[0], revoked_at=later(1))


async def test_targets(storage: Storage, world: World) -> None:
    target = target_of(world.tenant, TargetState.PAUSED, "Second")
    async with storage.begin(world.tenant) as tx:
        await targets.insert(tx, target)
        assert await targets.get(tx, target.id, lock=True) == target
        assert [one.id for one in await targets.list_after(tx, None, 9)] == [world.target, target.id]
        assert await targets.list_after(tx, world.target, 9) == [target]
        changed = replace(
            target, display_name="New", secret_sealed=b"\x01\x00\xff", revision=2, updated_at=later(1),
            state=TargetState.ACTIVE,
        )  # fmt: skip
        await targets.update(tx, changed)
        with pytest.raises(NotFound):
            await targets.update(tx, target_of(world.tenant))
    async with storage.begin_batch([world.tenant]) as tx:
        assert await targets.load(tx, [target.id, TargetId(new_id())]) == {target.id: changed}


def event(world: World, seconds: float, **changes: object) -> AuditEvent:
    at = later(seconds)
    made = AuditEvent(
        id=EventId(uuid7(int(at.timestamp() * 1000), new_id().bytes[:10])),
        tenant=world.tenant,
        at=at,
        actor=Actor(ActorType.TOKEN, "key-1", "192.0.2.1"),
        action="user.create",
        resource_type="user",
        resource_id="42",
        request_id="req-1",
        details={"attributes": ["userName"], "count": 3},
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # the tests name fields of AuditEvent


async def test_the_trail_is_listed_newest_first(storage: Storage, world: World) -> None:
    made = [event(world, number) for number in range(5)]
    async with storage.begin(world.tenant) as tx:
        await audit.append(tx, made)
        await audit.append(tx, [])
        newest = await audit.list_events(tx, AuditQuery(), None, 3)
        rest = await audit.list_events(tx, AuditQuery(), newest[-1].id, 3)
    assert [*newest, *rest] == made[::-1]


SEARCHES: tuple[tuple[AuditQuery, list[int]], ...] = (
    (AuditQuery(start=NOW + timedelta(seconds=100)), [100, 200]),
    (AuditQuery(end=NOW + timedelta(seconds=100)), [0, 1]),
    (AuditQuery(start=NOW + timedelta(seconds=1), end=NOW + timedelta(seconds=200)), [1, 100]),
    (AuditQuery(actor_id="admin"), [1]),
    (AuditQuery(action="user.delete"), [100]),
    (AuditQuery(resource_id="43"), [200]),
    (AuditQuery(outcome=Outcome.FAILURE), [200]),
    (AuditQuery(outcome=Outcome.FAILURE, actor_id="admin"), []),
)


async def test_the_trail_is_searched(storage: Storage, world: World) -> None:
    made = {
        0: event(world, 0),
        1: event(world, 1, actor=Actor(ActorType.ADMIN, "admin")),
        100: event(world, 100, action="user.delete"),
        200: event(world, 200, resource_id="43", outcome=Outcome.FAILURE, reason="no"),
    }
    async with storage.begin(world.tenant) as tx:
        await audit.append(tx, list(made.values()))
        for query, seconds in SEARCHES:
            found = await audit.list_events(tx, query, None, 9)
            assert found == [made[second] for second in reversed(seconds)], query


REWRITES: tuple[LiteralString, ...] = (
    "UPDATE audit_events SET reason = ''",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
)


async def test_nobody_rewrites_the_trail(storage: Storage, world: World) -> None:
    for statement in REWRITES:
        with pytest.raises(MusterError):
            async with storage.begin(world.tenant) as tx:
                await tx.fetch(statement)
        with pytest.raises(MusterError):
            async with storage.begin_batch([world.tenant]) as tx:
                await tx.fetch(statement)


async def test_of_those_who_saw_one_epoch_one_advances_it(storage: Storage) -> None:
    async def advance(seen: int) -> int:
        async with storage.begin_batch(()) as tx:
            return await queue_state.advance(tx, seen)

    async with storage.begin_batch(()) as tx:
        seen = await queue_state.current(tx)
    assert set(await asyncio.gather(*(advance(seen) for _ in range(6)))) == {seen + 1}
    assert await advance(seen) == seen + 1
    assert await advance(seen + 1) == seen + 2


async def test_the_application_role_has_no_business_with_the_epoch(storage: Storage, world: World) -> None:
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant) as tx:
            await queue_state.current(tx)
