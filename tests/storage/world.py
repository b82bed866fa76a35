"""Makes tenants, targets and resources for the storage tests."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from control_plane.domain.ids import ResourceId, TargetId, TenantId, uuid7
from control_plane.domain.jobs import Effect, Failure, Fence, JobKey, Result
from control_plane.domain.resources import NewResource, ResourceType
from control_plane.domain.targets import Target, TargetKind, TargetState, Work
from control_plane.domain.tenants import Tenant
from control_plane.storage import memberships, provisioning, resources, targets, tenants
from control_plane.storage.engine import Storage
from control_plane.storage.marks import Raised

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
_ticks = itertools.count(int(time.time() * 1000))


def new_id() -> Any:
    """Return a UUIDv7 above all before it."""
    return uuid7(next(_ticks), os.urandom(10))


def later(seconds: float) -> datetime:
    """Return a moment after NOW."""
    return NOW + timedelta(seconds=seconds)


def user(name: str, **changes: Any) -> NewResource:
    """Return a user to be stored."""
    values: dict[str, Any] = {
        "id": new_id(), "type": ResourceType.USER, "user_name": name, "external_id": None, "display_name": None,
        "active": True, "document": {"userName": name}, "at": NOW,
    }  # fmt: skip
    return NewResource(**{**values, **changes})


def group(name: str, **changes: Any) -> NewResource:
    """Return a group to be stored."""
    values: dict[str, Any] = {
        "id": new_id(), "type": ResourceType.GROUP, "user_name": None, "external_id": None, "display_name": name,
        "active": None, "document": {"displayName": name}, "at": NOW,
    }  # fmt: skip
    return NewResource(**{**values, **changes})


def target_of(tenant: TenantId, state: TargetState = TargetState.ACTIVE, name: str = "App") -> Target:
    """Return a target to be stored."""
    return Target(new_id(), tenant, name, TargetKind.SCIM, state, "https://app.example", b"\x01sealed", 1, NOW, NOW)


def done(key: JobKey, fence: Fence, version: int, remote_id: str | None = None, **changes: Any) -> Result:
    """Return the result of a lease that was carried out."""
    values: dict[str, Any] = {"applied_version": version, "remote_id": remote_id, "effect": Effect.UPDATED}
    return Result(key, fence, "worker-1", **{"at": later(1), **values, **changes})


def failed(key: JobKey, fence: Fence, failure: Failure = Failure.TRANSIENT, **changes: Any) -> Result:
    """Return the result of a lease that was given up."""
    return Result(key, fence, "worker-1", **{"at": later(1), "failure": failure, "error": "no luck", **changes})


@dataclass(frozen=True, slots=True)
class World:
    """One tenant with one target, and short ways to do things in it."""

    storage: Storage
    tenant: TenantId
    target: TargetId

    def key(self, resource: NewResource | ResourceId, target: TargetId | None = None) -> JobKey:
        """Return the key of a resource in the target."""
        found = resource.id if isinstance(resource, NewResource) else resource
        return JobKey(self.tenant, target or self.target, found)

    async def store(self, *rows: NewResource) -> tuple[Raised, ...]:
        """Insert resources."""
        async with self.storage.begin(self.tenant) as tx:
            return (await resources.insert(tx, rows)).raised

    async def join(self, one: NewResource, *members: NewResource) -> None:
        """Add members to a group, without raising anything."""
        async with self.storage.begin(self.tenant) as tx:
            await memberships.add(tx, one.id, [member.id for member in members])

    async def delete(self, *rows: NewResource) -> resources.Written:
        """Delete resources, of any type."""
        async with self.storage.begin(self.tenant) as tx:
            found = await resources.get_for_delete(tx, [row.id for row in rows])
            return await resources.delete_locked(tx, found, later(2))

    async def lease(self, resource: NewResource, fence: Fence) -> Work | None:
        """Dispatch one key."""
        async with self.storage.begin_batch([self.tenant]) as tx:
            works = await provisioning.dispatch(tx, [(self.key(resource), fence)], "worker-1", NOW)
            return works.get(self.key(resource))

    async def settle(self, *results: Result) -> provisioning.SettleOutcome:
        """Settle results."""
        async with self.storage.begin_batch([self.tenant]) as tx:
            return await provisioning.settle(tx, results)

    async def link(self, resource: NewResource, remote_id: str, fence: Fence) -> provisioning.SettleOutcome:
        """Lease a resource and report that it was applied."""
        work = await self.lease(resource, fence)
        assert work is not None
        return await self.settle(done(self.key(resource), fence, work.desired_version, remote_id))

    async def row(self, resource: NewResource) -> dict[str, Any]:
        """Return a resource's row of ``provisioning``."""
        async with self.storage.begin(self.tenant) as tx:
            rows = await tx.fetch(
                "SELECT to_jsonb(p) FROM provisioning p WHERE resource_id = %(id)b AND target_id = %(target)b",
                {"id": resource.id, "target": self.target},
            )
        found: dict[str, Any] = rows[0][0]
        return found

    async def dirty(self) -> set[ResourceId]:
        """Return the resources that are not applied."""
        async with self.storage.begin_batch([self.tenant]) as tx:
            return {one.key.resource for one in await provisioning.dirty_page(tx, None, 1000)}


async def make_tenant(storage: Storage) -> TenantId:
    """Store a tenant."""
    tenant = TenantId(new_id())
    async with storage.begin(tenant) as tx:
        await tenants.insert(tx, Tenant(tenant, "Acme", NOW))
    return tenant


async def make_world(storage: Storage, state: TargetState = TargetState.ACTIVE) -> World:
    """Store a tenant with one target."""
    tenant = await make_tenant(storage)
    target = target_of(tenant, state)
    async with storage.begin(tenant) as tx:
        await targets.insert(tx, target)
    return World(storage, tenant, target.id)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """Connect without Storage, in autocommit."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


async def eventually_blocked(storage: Storage) -> None:
    """Return when some transaction waits for a lock that another one holds; fail after 5 s."""
    async with asyncio.timeout(5):
        while True:
            async with storage.begin_batch(()) as tx:
                waiting = await tx.fetch("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if waiting[0][0]:
                return
            await asyncio.sleep(0.01)
