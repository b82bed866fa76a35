"""What a write of a user asks the database, one by one; and that a key in memory is never too old for it."""

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest

from control_plane.domain.audit import Actor, ActorType, AuditQuery
from control_plane.domain.ids import ResourceId, TenantId
from control_plane.domain.resources import ResourceType
from control_plane.domain.secrets import sealed_version
from control_plane.scim.core_schemas import USER_URN
from control_plane.scim.rules import DEFAULT_RULES
from control_plane.services.caller import Caller
from control_plane.services.trail import Entry, Trail
from control_plane.services.writes import Batch, Create, Done, Patch, Scope, Writer
from control_plane.storage import audit, audit_subjects
from control_plane.storage.engine import Storage, Tx
from tests.fakes.clock import FakeClock
from tests.storage.sealed_world import KEY, NEW_KEY, Sealed, keyring_of
from tests.storage.world import make_tenant

CALLER = Caller(Actor(ActorType.TOKEN, "key-1"))


@dataclass(frozen=True, slots=True)
class Process:
    """A control plane that writes for a tenant, with a memory of its own."""

    keys: Sealed
    trail: Trail
    writer: Writer

    @classmethod
    def of(cls, storage: Storage, tenant: TenantId, seed: int, *keys: bytes) -> "Process":
        """Return a process with its own dice."""
        clock, keyring = FakeClock(seed=seed), keyring_of(*(keys or (KEY,)), seed=seed)
        trail = Trail(keyring, clock)
        return cls(Sealed(storage, keyring, tenant), trail, Writer(clock, trail))

    async def create(self, name: str) -> ResourceId:
        """POST a user."""
        async with self.keys.storage.begin(self.keys.tenant) as tx:
            body = {"schemas": [USER_URN], "userName": name}
            return made(await self.writer.create(tx, self.scope(), [Create(ResourceType.USER, body)]))

    async def patch(self, user: ResourceId, title: str) -> ResourceId:
        """PATCH a user."""
        operations = [{"op": "replace", "path": "title", "value": title}]
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}
        async with self.keys.storage.begin(self.keys.tenant) as tx:
            return made(await self.writer.change(tx, self.scope(), [Patch(ResourceType.USER, str(user), body)]))

    def scope(self) -> Scope:
        """Return whose writes these are."""
        return Scope(CALLER, self.keys.tenant, DEFAULT_RULES)

    async def told(self, user: ResourceId) -> list[Entry]:
        """Return what the trail says of a user, personal values opened."""
        async with self.keys.storage.begin(self.keys.tenant, read_only=True) as tx:
            found = await audit.list_events(tx, AuditQuery(resource_id=str(user)), None, 99)
            return await self.trail.entries(tx, found, with_personal=True)

    async def key_version(self, user: ResourceId) -> int:
        """Return the version of the data key that a user's key is sealed with."""
        async with self.keys.storage.begin(self.keys.tenant, read_only=True) as tx:
            sealed = (await audit_subjects.read(tx, [(self.keys.tenant, user)]))[self.keys.tenant, user]
            return sealed_version(sealed or b"")


def made(batch: Batch) -> ResourceId:
    outcome = batch.outcomes[0]
    assert isinstance(outcome, Done)
    return outcome.resource.id


@pytest.fixture
async def one(storage: Storage) -> Process:
    return Process.of(storage, await make_tenant(storage), 1)


@pytest.fixture
async def other(storage: Storage, one: Process) -> Process:
    return Process.of(storage, one.keys.tenant, 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that a transaction runs between its first one and its commit."""
    statements: list[str] = []
    fetch = Tx.fetch

    async def noted(tx: Tx, sql: Any, params: Any = ()) -> list[tuple[Any, ...]]:
        statements.append(sql)
        return await fetch(tx, sql, params)

    monkeypatch.setattr(Tx, "fetch", noted)
    return statements


async def test_a_write_is_as_few_statements_as_there_are_steps(one: Process, other: Process, asked: list[str]) -> None:
    ada = await one.create("ada")
    asked.clear()
    await one.create("bob")
    assert len(asked) == 2, "the user; the event with the person's key"
    # Whoever has nothing of the person in memory asks no more than who has.
    await other.create("eve")
    for title in ("CTO", "CEO"):
        asked.clear()
        await other.patch(ada, title)
        assert len(asked) == 3, "the user with the person's key; the change; the event"
    assert all(entry.personal for entry in await one.told(ada))


async def test_a_key_that_another_process_destroyed_seals_nothing(one: Process, other: Process) -> None:
    await one.create("ada")
    await other.keys.rotate()
    assert await one.keys.versions() == [2]
    bob = await one.create("bob")
    assert await one.key_version(bob) == 2
    assert '"userName":"bob"' in (await other.told(bob))[0].personal
    await other.keys.rotate()
    assert await one.patch(bob, "CTO") == bob
    assert any("CTO" in entry.personal for entry in await other.told(bob))


async def test_the_older_of_two_keys_seals_nothing(one: Process, other: Process) -> None:
    await one.create("ada")
    rotation = other.keys.service().rotate(CALLER, other.keys.tenant)
    await anext(rotation)
    assert await one.keys.versions() == [1, 2]
    assert await one.key_version(await one.create("bob")) == 2
    await rotation.aclose()


async def test_a_rolled_back_key_with_the_same_version_seals_nothing(one: Process, other: Process) -> None:
    with contextlib.suppress(InterruptedError):
        async with one.keys.storage.begin(one.keys.tenant) as tx:
            body = {"schemas": [USER_URN], "userName": "ada"}
            await one.writer.create(tx, one.scope(), [Create(ResourceType.USER, body)])
            raise InterruptedError
    await other.create("eve")
    bob = await one.create("bob")
    assert await one.key_version(bob) == 1
    assert '"userName":"bob"' in (await other.told(bob))[0].personal


async def test_a_key_that_was_wrapped_anew_meanwhile_seals_on(storage: Storage, one: Process) -> None:
    await one.create("ada")
    newer, newest = (Process.of(storage, one.keys.tenant, seed, NEW_KEY, KEY) for seed in (3, 4))
    await newer.create("bob")
    await newest.keys.rewrap()
    eve = await newer.create("eve")
    assert '"userName":"eve"' in (await newest.told(eve))[0].personal


async def test_whose_key_was_destroyed_has_none_read_with_the_row(one: Process, other: Process) -> None:
    ada = await one.create("ada")
    async with one.keys.storage.begin(one.keys.tenant) as tx:
        await audit_subjects.erase(tx, ada, FakeClock().now())
    await other.patch(ada, "CTO")
    (patched,) = (entry.event for entry in await other.told(ada) if entry.event.action == "user.patch")
    assert patched.personal is None
