"""Connections and transactions. ``begin``, ``begin_batch`` and ``begin_keeper`` are the only ways to a transaction.

Each sets, with its first statement and for itself alone, which tenants the row-level security policies let it see.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from sqlalchemy import CursorResult, Executable, Pool, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from control_plane.domain.ids import SYSTEM_TENANT, ResourceId, TenantId
from control_plane.runtime.logs import get_logger
from control_plane.storage.driver_errors import is_unreachable, limited, translated
from control_plane.storage.notifications import listen, notify
from control_plane.storage.roles import APP_ROLE, BATCH_ROLE, KEEPER_ROLE

log = get_logger(__name__)

COUNTER_SLOTS = 16
# Its duties take turns: sealing, expiry, purges.
KEEPER_CONNECTIONS = 2
# The server gives up first (statement_timeout) and says so; this is for a server that says nothing at all.
GRACE_S = 2.0
CONNECT_TIMEOUT_S = 5
CONNECTION = {
    "application_name": "muster",
    "connect_timeout": CONNECT_TIMEOUT_S,
    # A peer that vanished without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    # Every query here has an index: a plan made while a table was empty would else scan it until the next ANALYZE.
    # And no query is worth the time of compiling it.
    "options": "-c timezone=UTC -c enable_seqscan=off -c jit=off",
}

# set_config(..., true) ends with the transaction. lock_timeout stands before the lock that it has to limit.
BEGIN_TENANT = """
    SELECT set_config('muster.tenant', %(tenant)s, true), set_config('statement_timeout', %(timeout)s, true),
           set_config('lock_timeout', %(timeout)s, true), pg_advisory_xact_lock_shared(%(lock)s::bigint)
"""
BEGIN_TENANT_EXCLUSIVE = BEGIN_TENANT.replace("_lock_shared(", "_lock(")
BEGIN_TENANT_READ_ONLY = """
    SELECT set_config('muster.tenant', %(tenant)s, true), set_config('statement_timeout', %(timeout)s, true),
           set_config('transaction_read_only', 'on', true)
"""
BEGIN_BATCH = """
    SELECT set_config('muster.tenants', %(tenants)s, true), set_config('muster.token_key', %(token_key)s, true),
           set_config('statement_timeout', %(timeout)s, true), set_config('lock_timeout', %(timeout)s, true),
           set_config('synchronous_commit', %(commit)s, true)
"""

Params = Mapping[str, object] | Sequence[object]


class Tx:
    """An open transaction. It commits when its ``async with`` ends well, and is undone by any exception."""

    __slots__ = ("_connection", "_driver", "_limit_s", "_tenant", "is_exclusive", "joined", "made", "slot")

    def __init__(
        self,
        connection: AsyncConnection,
        driver: psycopg.AsyncConnection,
        tenant: TenantId | None,
        limit_s: float,
        *,
        is_exclusive: bool = False,
    ) -> None:
        self._connection, self._driver = connection, driver
        self._tenant, self._limit_s = tenant, limit_s
        # Whether no other writer of the tenant is at work.
        self.is_exclusive = is_exclusive
        # Which of a counter's rows this transaction adds to.
        self.slot = random.randrange(COUNTER_SLOTS)  # noqa: S311 - spreads writers, guards nothing
        # What this transaction made; and who joined a group in it, with marks that are not locked yet (marks.py).
        self.made: set[ResourceId] = set()
        self.joined: set[ResourceId] = set()

    @property
    def tenant(self) -> TenantId:
        """The one tenant of a ``begin`` transaction."""
        if self._tenant is None:
            raise RuntimeError("a batch transaction has no single tenant")
        return self._tenant

    async def execute(self, statement: Executable) -> CursorResult[Any]:
        """Run a SQLAlchemy Core statement: for administration, where convenience beats speed."""
        async with limited(self._limit_s):
            result = await self._connection.execute(statement)
            assert isinstance(result, CursorResult)
            return result

    async def fetch(self, sql: LiteralString, params: Params = ()) -> list[tuple[Any, ...]]:
        """Run a literal statement, prepared on first use, and return its rows.

        Write list parameters as ``%(name)b``: the binary form. The textual one costs 200 us an element
        (performance.md, section 3).
        """
        async with limited(self._limit_s):
            cursor = await self._driver.cursor(binary=True).execute(sql, params, prepare=True)
            # Not its ``description``, which makes an object of each column to say as much.
            return await cursor.fetchall() if cursor.rownumber is not None else []

    async def stream(self, sql: LiteralString, params: Params, rows: int) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Run a literal query on a server-side cursor and yield its rows in lists of up to ``rows``."""
        async with self._driver.cursor(name="stream", binary=True) as cursor:
            async with limited(self._limit_s):
                await cursor.execute(sql, params)
            while True:
                async with limited(self._limit_s):
                    some = await cursor.fetchmany(rows)
                if not some:
                    return
                yield some


class Storage:
    """The pools of the three runtime roles. One for each process."""

    def __init__(
        self, app: AsyncEngine, batch: AsyncEngine, keeper: AsyncEngine, listen_dsn: str, timeout_s: float
    ) -> None:
        """Use :meth:`open`."""
        self._app, self._batch, self._keeper = app, batch, keeper
        self._listen_dsn, self._timeout_s = listen_dsn, timeout_s

    @classmethod
    async def open(cls, url: str, *, pool_size: int, timeout_s: float) -> "Storage":
        """Return a storage that connects on first use, as ``muster_app`` (the user of ``url``), batch and keeper.

        The first two have up to ``pool_size`` connections each; ``timeout_s`` limits the wait for one, and each
        statement.
        """
        base = make_url(url).set(drivername="postgresql+psycopg", username=APP_ROLE)
        engines = [
            create_async_engine(
                base.set(username=role),
                pool_size=size,
                max_overflow=0,
                pool_timeout=timeout_s,
                pool_use_lifo=True,
                use_native_hstore=False,
                # Errors must not repeat what people are called.
                hide_parameters=True,
                connect_args=CONNECTION,
            )
            for role, size in ((APP_ROLE, pool_size), (BATCH_ROLE, pool_size), (KEEPER_ROLE, KEEPER_CONNECTIONS))
        ]
        dsn = base.set(drivername="postgresql").render_as_string(hide_password=False)
        return cls(engines[0], engines[1], engines[2], dsn, timeout_s)

    async def close(self) -> None:
        """Close every pooled connection."""
        for engine in (self._app, self._batch, self._keeper):
            await engine.dispose()

    async def ping(self) -> None:
        """Return if the database answers as every role; Unavailable if not."""
        async with self.begin_batch(()) as tx:
            await tx.fetch("SELECT 1")
        async with self.begin(SYSTEM_TENANT, read_only=True) as tx:
            await tx.fetch("SELECT 1")
        async with self.begin_keeper(()) as tx:
            await tx.fetch("SELECT 1")

    @asynccontextmanager
    async def begin(
        self, tenant: TenantId, *, timeout_s: float | None = None, read_only: bool = False, exclusive: bool = False
    ) -> AsyncIterator[Tx]:
        """Open a transaction that sees ``tenant`` and nothing else.

        Say ``read_only`` where nothing is written, above all in long streams: other transactions hold off ``exclusive``
        ones, and everybody queues behind who waits for that. An ``exclusive`` one begins when no other writing
        transaction of the tenant runs, and lets none begin until it ends. It has to say so at once: two that first
        share the tenant's lock, and want it alone later, would wait for each other.
        """
        timeout_s = timeout_s or self._timeout_s
        settings = {"tenant": str(tenant), "timeout": _milliseconds(timeout_s), "lock": lock_key(tenant)}
        first: LiteralString = BEGIN_TENANT_EXCLUSIVE if exclusive else BEGIN_TENANT
        first = BEGIN_TENANT_READ_ONLY if read_only else first
        async with self._transaction(self._app, first, settings, tenant, timeout_s) as tx:
            yield tx

    @asynccontextmanager
    async def begin_batch(
        self, tenants: Iterable[TenantId], *, token_key: str = "", timeout_s: float | None = None, durable: bool = True
    ) -> AsyncIterator[Tx]:
        """Open a transaction that sees ``tenants``, the list of all tenants, and the tokens with key ids ``token_key``.

        Several key ids are separated by commas.

        Without ``durable`` the commit does not wait for the disk: a crash of the server may undo the last
        half second. For writes that the queue repeats anyway.
        """
        timeout_s = timeout_s or self._timeout_s
        settings = {
            "tenants": "{" + ",".join(map(str, tenants)) + "}",
            "token_key": token_key,
            "timeout": _milliseconds(timeout_s),
            "commit": "on" if durable else "off",
        }
        async with self._transaction(self._batch, BEGIN_BATCH, settings, None, timeout_s) as tx:
            yield tx

    @asynccontextmanager
    async def begin_keeper(self, tenants: Iterable[TenantId], *, timeout_s: float | None = None) -> AsyncIterator[Tx]:
        """Open a transaction for sealing, expiry and purges.

        Besides ``tenants`` it sees the list of all, and whose audit events are pending.
        """
        timeout_s = timeout_s or self._timeout_s
        settings = {
            "tenants": "{" + ",".join(map(str, tenants)) + "}",
            "token_key": "",
            "timeout": _milliseconds(timeout_s),
            "commit": "on",
        }
        async with self._transaction(self._keeper, BEGIN_BATCH, settings, None, timeout_s) as tx:
            yield tx

    def listen(self, channel: str) -> AsyncGenerator[str | None]:
        """Yield each payload notified on ``channel``; None after each (re)connect: something may have been missed.

        "" comes about once a second while the server answers on that connection: nothing was missed so far. Silence for
        much longer means that notifications may be missed just now. Close it (``contextlib.aclosing``): it holds a
        connection of its own.
        """
        return listen(self._listen_dsn, CONNECTION, channel)

    async def notify(self, tx: Tx, channel: str, payload: str) -> None:
        """Send ``payload`` (1 to 7,999 bytes) to the listeners of ``channel`` when ``tx`` commits."""
        await notify(tx, channel, payload)

    @asynccontextmanager
    async def _transaction(
        self,
        engine: AsyncEngine,
        first: LiteralString,
        settings: Mapping[str, object],
        tenant: TenantId | None,
        timeout_s: float,
    ) -> AsyncIterator[Tx]:
        limit_s = timeout_s + GRACE_S
        with translated():
            connection, driver = await _begun(engine, first, settings, limit_s)
            try:
                yield Tx(connection, driver, tenant, limit_s, is_exclusive=first is BEGIN_TENANT_EXCLUSIVE)
                async with limited(limit_s):
                    await driver.commit()
            except BaseException:
                await asyncio.shield(_undo(connection, driver))
                raise
            else:
                # Waits for nothing: the transaction is over. Hence no shield, which would cost a task.
                await connection.close()


async def _begun(
    engine: AsyncEngine, first: LiteralString, settings: Mapping[str, object], limit_s: float
) -> tuple[AsyncConnection, psycopg.AsyncConnection]:
    """Return a connection with an open transaction whose ``first`` statement has run.

    A pooled connection may have died unnoticed (a restart of the server). Nothing has happened yet, so a second
    try on a new connection is safe; the whole pool is as old, and is renewed.
    """
    for is_last in (False, True):
        pool = engine.pool
        connection = await engine.connect()
        driver = _driver_of(connection)
        try:
            async with limited(limit_s):
                await driver.execute(first, settings, prepare=True)
        except BaseException as err:
            await asyncio.shield(_undo(connection, driver))
            if is_last or not isinstance(err, Exception) or not is_unreachable(err) or not driver.closed:
                raise
            await _renew(engine, pool)
        else:
            return connection, driver
    raise AssertionError("the second round returns or raises")


def _driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection:
    """Return the psycopg connection inside; it begins a transaction by itself with its first statement.

    Going past SQLAlchemy for begin and commit saves more than half of what it adds to a short transaction: each
    step through its asyncio layer switches greenlets.
    """
    assert connection.sync_connection is not None
    driver = connection.sync_connection.connection.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver


async def _undo(connection: AsyncConnection, driver: psycopg.AsyncConnection) -> None:
    """Roll back and give the connection to the pool; throw it away if it is broken."""
    try:
        if driver.closed:
            await connection.invalidate()
        await connection.close()
    except Exception as err:
        # The caller's exception is the one that matters.
        log.warning("rollback failed", error=type(err).__name__)


async def _renew(engine: AsyncEngine, stale: Pool) -> None:
    """Drop the pool's idle connections, unless another task did it already."""
    if engine.pool is stale:
        await engine.dispose()


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def lock_key(tenant: TenantId) -> int:
    """Return the number of the tenant's own lock, which every writing transaction of ``begin`` holds."""
    # The random half of the UUIDv7, as the signed 64 bits that advisory locks take.
    return int.from_bytes(tenant.bytes[8:], "big", signed=True)
