"""Writers that deadlock: PostgreSQL undoes one, and Muster does that one again instead of calling it an outage."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
import pytest

from control_plane.domain.errors import Contended
from control_plane.services.writes import Writer
from protos.directory.v1 import directory_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.fixtures.postgres import Database
from tests.wire.test_bulk import USER, Bulk, delete, group, patch, user
from tests.wire.test_schemas import create as create_schema
from tests.wire.test_schemas import delete as delete_schema
from tests.wire.test_schemas import hr, urns

LOCK = "SELECT FROM resources WHERE id = %s FOR UPDATE"
# Not of pg_stat_activity, which stands still within a transaction.
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = any(pg_blocking_pids(pid))"

T = TypeVar("T")


@pytest.fixture
async def bulk(plane: Plane, database: Database) -> Bulk:
    return Bulk(plane, await plane.tenant(), database)


async def deadlocked(bulk: Bulk, first: str, second: str, write: Callable[[], Awaitable[T]]) -> T:
    """Return what ``write``, which locks ``first`` and then ``second``, comes to while a rival locks them inversely."""
    async with await psycopg.AsyncConnection.connect(bulk.database.superuser_url) as rival:
        # It never notices a deadlock by itself, so the other side is the one that is undone.
        await rival.execute("SET deadlock_timeout = '1h'")
        await rival.execute(LOCK, [second])
        writing = asyncio.ensure_future(write())
        async with asyncio.timeout(10):
            while (await (await rival.execute(BLOCKED)).fetchone()) == (0,):
                pass
            # Granted when the writer has been undone, and not before.
            await rival.execute(LOCK, [first])
        await rival.commit()
        return await writing


async def test_a_single_write_that_deadlocks_is_done_again(bulk: Bulk) -> None:
    ada, team = [one.id for one in await bulk.send(user("ada"), group("g", "ada"))]
    request = pb.DeleteResourceRequest(tenant_id=bulk.tenant, type=USER, id=ada)
    stub, meta = bulk.plane.gateway.directory, bulk.plane.gateway.metadata()
    # A deletion locks the user and then its groups.
    await deadlocked(bulk, ada, team, lambda: stub.DeleteResource(request, metadata=meta))
    assert await bulk.names() == ["g"]


async def test_a_bulk_run_that_deadlocks_is_done_again(bulk: Bulk) -> None:
    one, two = [one.id for one in await bulk.send(user("a"), user("b"))]
    changes = [patch(f"/Users/{id_}", "title", "x") for id_ in (one, two)]
    results = await deadlocked(bulk, one, two, lambda: bulk.send(*changes))
    assert [(one.status, one.version) for one in results] == [(200, 2), (200, 2)]
    assert await bulk.transactions() == 1


async def test_contention_without_end_is_no_outage_and_nothing_was_done(
    bulk: Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [one.id for one in await bulk.send(user("a"), user("b"), user("c"))]

    async def contended(*_: Any) -> Any:
        raise Contended

    monkeypatch.setattr(Writer, "change", contended)
    results = await bulk.send(*(patch(f"/Users/{id_}", "title", "x") for id_ in ids), delete(f"/Users/{ids[0]}"))
    # More than two outages in succession would end it before the deletion.
    assert [one.status for one in results] == [503, 503, 503, 204]
    assert {"nothing was done" in one.detail for one in results[:3]} == {True}


async def test_a_contended_run_is_tried_one_by_one(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [one.id for one in await bulk.send(user("a"), user("b"))]
    change = Writer.change

    async def contended_together(self: Writer, tx: Any, scope: Any, items: Any) -> Any:
        if len(items) > 1:
            raise Contended
        return await change(self, tx, scope, items)

    monkeypatch.setattr(Writer, "change", contended_together)
    assert await bulk.statuses(*(patch(f"/Users/{id_}", "title", "x") for id_ in ids)) == [200, 200]


async def test_schemas_deleted_at_once_are_no_deadlock(plane: Plane) -> None:
    tenant = await plane.tenant()
    names = [f"urn:acme:x{number}:User" for number in range(6)]
    for name in names:
        await create_schema(plane, hr(tenant, id=name, name=name[-7:-5]))
    await asyncio.gather(*(delete_schema(plane, tenant, name) for name in names))
    assert await urns(plane, tenant) == []
