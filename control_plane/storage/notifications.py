"""LISTEN and NOTIFY: wakes others; never carries what must not be lost."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import sql

from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
# So often the connection is tried, and so long it may take to answer: one that died silently must not stay unnoticed.
PROBE_EVERY_S = 1.0
ANSWER_WITHIN_S = 1.0
PROBE = sql.SQL("SELECT 1")
NOTIFY = "SELECT pg_notify(%(channel)b::text, %(payload)b::text)"


class Fetches(Protocol):
    """The part of a transaction that is used here."""

    async def fetch(self, sql: LiteralString, params: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run a literal statement and return its rows."""
        ...


async def notify(tx: Fetches, channel: str, payload: str) -> None:
    """Send ``payload`` (1 to 7,999 bytes) to the listeners of ``channel`` when ``tx`` commits."""
    await tx.fetch(NOTIFY, {"channel": channel, "payload": payload})


async def listen(dsn: str, options: Mapping[str, Any], channel: str) -> AsyncGenerator[str | None]:
    """Yield each payload sent to ``channel``, on a connection of its own that is made again whenever it breaks.

    None comes after each (re)connect: whatever was sent before it may have been missed. "" comes about once a second,
    each time the server answered on this very connection, so nothing was missed so far. Silence for much longer than
    that means that notifications may be missed just now. Never ends by itself.
    """
    wait_s = RETRY_FIRST_S
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, **options) as connection:
                await _ask(connection, sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                wait_s = RETRY_FIRST_S
                yield None
                while True:
                    async with aclosing(connection.notifies(timeout=PROBE_EVERY_S)) as messages:
                        async for message in messages:
                            yield message.payload
                    await _ask(connection, PROBE)
                    # What came before the answer must not look younger than it.
                    async with aclosing(connection.notifies(timeout=0)) as messages:
                        async for message in messages:
                            yield message.payload
                    yield ""
        except (psycopg.Error, TimeoutError) as err:
            log.warning("listening interrupted", channel=channel, error=type(err).__name__)
        # Full jitter: all control planes lose the same server at the same moment.
        await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - spreads retries, guards nothing
        wait_s = min(wait_s * 2, RETRY_MAX_S)


async def _ask(connection: psycopg.AsyncConnection, statement: sql.SQL | sql.Composed) -> None:
    """Run a statement; TimeoutError, and the connection is closed, if the server does not answer in time."""
    running = asyncio.create_task(connection.execute(statement))
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await asyncio.shield(running)
    finally:
        # Cancelled once, the driver begs the same silent server for up to 10 s to cancel the statement. Cancelled
        # again, it closes the connection.
        while not running.done():
            running.cancel()
            await asyncio.sleep(0)
