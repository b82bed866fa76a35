"""Transactions: what they see, how long they wait, and what becomes of the driver's errors."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import psycopg
import pytest

from control_plane.domain.errors import MusterError, Unavailable
from control_plane.domain.resources import ResourceType
from control_plane.storage import resources
from control_plane.storage.engine import Storage
from control_plane.storage.migrate import migrate
from tests.fixtures.postgres import OWNER, Database, PostgresServer, free_port, make_server
from tests.storage.world import World, connected, eventually_blocked, make_tenant, user

LISTENERS = """
    FROM pg_stat_activity
    WHERE datname = current_database() AND query ~ '^(LISTEN|SELECT 1$)' AND pid <> pg_backend_pid() AND state = 'idle'
"""
TERMINATE = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND usename ~ '^muster_(app|batch)$'
"""


async def next_news(news: AsyncIterator[str | None]) -> str | None:
    """Return what a listener yields next, apart from its sign of life."""
    while (found := await anext(news)) == "":
        pass
    return found


async def test_an_exception_undoes_everything(storage: Storage, world: World) -> None:
    ada = user("ada")

    async def fail() -> None:
        async with storage.begin(world.tenant) as tx:
            await resources.insert(tx, [ada])
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with storage.begin(world.tenant) as tx:
        assert await resources.get(tx, ResourceType.USER, [ada.id]) == {}


async def test_cancellation_undoes_everything_and_gives_the_connection_back(database: Database) -> None:
    storage = await Storage.open(database.app_url, pool_size=1, timeout_s=5)
    tenant = await make_tenant(storage)
    ada = user("ada")

    async def write() -> None:
        async with storage.begin(tenant) as tx:
            await resources.insert(tx, [ada])
            await tx.fetch("SELECT pg_advisory_xact_lock(1)")

    async with connected(database.superuser_url) as other:
        await other.execute("SELECT pg_advisory_lock(1)")
        task = asyncio.create_task(write())
        await eventually_blocked(storage)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with storage.begin(tenant) as tx:
        assert await resources.get(tx, ResourceType.USER, [ada.id]) == {}
    await storage.close()


async def test_a_transaction_that_only_reads_cannot_write(storage: Storage, world: World) -> None:
    with pytest.raises(MusterError):
        async with storage.begin(world.tenant, read_only=True) as tx:
            await resources.insert(tx, [user("ada")])


async def test_a_batch_has_no_single_tenant(storage: Storage, world: World) -> None:
    async with storage.begin_batch([world.tenant]) as tx:
        with pytest.raises(RuntimeError):
            _ = tx.tenant


async def test_a_slow_statement_is_cut_off(storage: Storage, world: World) -> None:
    with pytest.raises(Unavailable) as caught:
        async with storage.begin(world.tenant, timeout_s=0.05) as tx:
            await tx.fetch("SELECT pg_sleep(60)")
    assert caught.value.retry_after_s == 1.0
    with pytest.raises(Unavailable):
        async with storage.begin_batch([world.tenant], timeout_s=0.05) as tx:
            await tx.fetch("SELECT pg_sleep(60)")


async def test_a_callers_own_time_limit_stays_his(storage: Storage, world: World) -> None:
    with pytest.raises(TimeoutError):
        async with storage.begin(world.tenant) as tx, asyncio.timeout(0.05):
            await tx.fetch("SELECT pg_sleep(60)")


async def test_an_exhausted_pool_is_unavailable(database: Database) -> None:
    storage = await Storage.open(database.app_url, pool_size=1, timeout_s=0.1)
    tenant = await make_tenant(storage)
    async with storage.begin(tenant):
        with pytest.raises(Unavailable):
            async with storage.begin(tenant):
                pass
    await storage.close()


async def test_a_deadlock_is_contended(storage: Storage, world: World) -> None:
    ada, bob = user("ada"), user("bob")
    await world.store(ada, bob)
    both = asyncio.Barrier(2)

    async def lock(first: object, second: object) -> None:
        async with storage.begin(world.tenant) as tx:
            sql = "SELECT 1 FROM resources WHERE id = %(id)b FOR UPDATE"
            await tx.fetch(sql, {"id": first})
            await both.wait()
            await tx.fetch(sql, {"id": second})

    outcomes = await asyncio.gather(lock(ada.id, bob.id), lock(bob.id, ada.id), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Contended", "NoneType"]


async def test_two_that_want_the_tenant_alone_take_turns(storage: Storage, world: World) -> None:
    """Who shared the lock first and raised it later would meet the other one, and one of the two be undone."""
    async with storage.begin(world.tenant, exclusive=True) as tx:
        await tx.fetch("SELECT 1")
        waiting = [asyncio.create_task(_alone(storage, world)) for _ in range(3)]
        await eventually_blocked(storage)
        assert not any(task.done() for task in waiting)
    assert await asyncio.gather(*waiting) == [(1,)] * 3


async def test_who_wants_the_tenant_alone_waits_for_writers_and_not_for_readers(storage: Storage, world: World) -> None:
    async with storage.begin(world.tenant, read_only=True) as reading:
        await reading.fetch("SELECT 1")
        assert await _alone(storage, world) == (1,)
    async with storage.begin(world.tenant):
        waiting = asyncio.create_task(_alone(storage, world))
        await eventually_blocked(storage)
        assert not waiting.done()
    assert await waiting == (1,)


async def _alone(storage: Storage, world: World) -> object:
    async with storage.begin(world.tenant, exclusive=True) as tx:
        return (await tx.fetch("SELECT 1"))[0]


async def test_driver_text_stays_inside(storage: Storage, world: World) -> None:
    with pytest.raises(MusterError) as caught:
        async with storage.begin(world.tenant) as tx:
            await tx.fetch("SELECT 1 FROM no_such_table")
    assert "no_such_table" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_ping(storage: Storage) -> None:
    await storage.ping()


async def test_durability_is_the_choice_of_the_transaction(storage: Storage) -> None:
    show = "SELECT current_setting('synchronous_commit')"
    async with storage.begin_batch((), durable=False) as tx:
        assert await tx.fetch(show) == [("off",)]
    async with storage.begin_batch(()) as tx:
        assert await tx.fetch(show) == [("on",)]


async def test_a_severed_connection_is_replaced_unnoticed(
    storage: Storage, world: World, postgres_server: PostgresServer, database: Database
) -> None:
    await storage.ping()
    postgres_server.execute_in(database, TERMINATE)
    await storage.ping()
    async with storage.begin(world.tenant) as tx:
        await tx.fetch("SELECT 1")


async def test_a_connection_lost_in_the_middle_is_unavailable(
    storage: Storage, world: World, postgres_server: PostgresServer, database: Database
) -> None:
    async def lose() -> None:
        async with storage.begin(world.tenant) as tx:
            pid = (await tx.fetch("SELECT pg_backend_pid()"))[0][0]
            postgres_server.execute_in(database, f"SELECT pg_terminate_backend({pid}, 5000)")
            await tx.fetch("SELECT 1")

    with pytest.raises(Unavailable):
        await lose()
    await storage.ping()


async def test_nobody_listening_is_unavailable() -> None:
    storage = await Storage.open(f"postgresql://muster_app@127.0.0.1:{free_port()}/none", pool_size=1, timeout_s=1)
    with pytest.raises(Unavailable):
        await storage.ping()
    await storage.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="muster-test-pg-"))
    folder.chmod(0o755)
    server = make_server(folder)
    server.execute(f"CREATE DATABASE muster OWNER {OWNER}")
    yield server
    server.stop()
    shutil.rmtree(folder)


async def test_a_server_that_stops_is_unavailable_until_it_is_back(own_server: PostgresServer) -> None:
    database = own_server.database("muster")
    await asyncio.to_thread(migrate, database.owner_url, None)
    storage = await Storage.open(database.app_url, pool_size=2, timeout_s=2)
    tenant = await make_tenant(storage)
    async with aclosing(storage.listen("news")) as news:
        assert await anext(news) is None
        own_server.stop()
        for _ in range(2):
            with pytest.raises(Unavailable):
                async with storage.begin(tenant) as tx:
                    await tx.fetch("SELECT 1")
        own_server.start()
        async with storage.begin(tenant) as tx:
            assert (await resources.page(tx, ResourceType.USER, 1, 1)).total == 0
        # The listener comes back by itself, and says that it was away.
        async with asyncio.timeout(10):
            assert await next_news(news) is None
    await storage.close()


@pytest.fixture
async def news(storage: Storage) -> AsyncIterator[AsyncIterator[str | None]]:
    """A listener that is connected."""
    async with aclosing(storage.listen("news")) as heard:
        assert await anext(heard) is None
        yield heard


async def test_notifications_arrive_when_the_transaction_commits(
    storage: Storage, world: World, news: AsyncIterator[str | None]
) -> None:
    async def fail() -> None:
        async with storage.begin(world.tenant) as tx:
            await storage.notify(tx, "news", "undone")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    async with storage.begin(world.tenant) as tx:
        await storage.notify(tx, "news", "one")
        await storage.notify(tx, "other", "elsewhere")
    async with storage.begin_batch(()) as tx:
        await storage.notify(tx, "news", "two")
    async with asyncio.timeout(5):
        assert [await next_news(news), await next_news(news)] == ["one", "two"]


async def test_a_listener_says_when_it_was_cut_off(
    storage: Storage, news: AsyncIterator[str | None], database: Database
) -> None:
    async with connected(database.superuser_url) as connection:
        await connection.execute("SELECT pg_terminate_backend(pid)" + LISTENERS)
    async with asyncio.timeout(10):
        assert await next_news(news) is None


async def test_a_listener_says_that_it_still_hears(news: AsyncIterator[str | None]) -> None:
    async with asyncio.timeout(10):
        assert [await anext(news), await anext(news)] == ["", ""]


async def test_a_notification_beside_a_probe_is_not_lost(
    storage: Storage, world: World, news: AsyncIterator[str | None]
) -> None:
    async with asyncio.timeout(10):
        for number in range(3):
            assert await anext(news) == ""
            # Nobody reads the connection now.
            async with storage.begin(world.tenant) as tx:
                await storage.notify(tx, "news", str(number))
            assert await anext(news) == str(number)


async def test_a_listener_whose_server_froze_falls_silent(
    storage: Storage, news: AsyncIterator[str | None], database: Database
) -> None:
    async with connected(database.superuser_url) as connection:
        rows = await (await connection.execute("SELECT pid" + LISTENERS)).fetchall()
    assert await anext(news) == ""
    (frozen,) = (row[0] for row in rows)
    os.kill(frozen, signal.SIGSTOP)
    try:
        # Well before the driver gives up: the next word is that of a new connection.
        async with asyncio.timeout(4):
            assert await anext(news) is None
            assert await anext(news) == ""
    finally:
        os.kill(frozen, signal.SIGCONT)


async def test_the_driver_is_psycopg_with_its_c_part() -> None:
    assert psycopg.pq.__impl__ == "binary"
