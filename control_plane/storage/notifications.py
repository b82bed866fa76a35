"""LISTEN and NOTIFY: wakes others; never carries what must not be lost."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import sql

from control_plane.runtime.logs import get_logger

log = get_logger(__name__)

RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
# After so long without a message the connection is tried: one that died silently must not stay unnoticed.
QUIET_S = 15.0
PROBE_TIMEOUT_S = 5.0
NOTIFY = "SELECT pg_notify(%(channel)b::text, %(payload)b::text)"


class Fetches(Protocol):
    """The part of a transaction that is used here."""

    async def fetch(self, sql: LiteralString, params: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run a literal statement and return its rows."""
        ...


async def notify(tx: Fetches, channel: str, payload: str) -> None:
    """Send ``payload`` (below 8,000 bytes) to the listeners of ``channel`` when ``tx`` commits."""
    await tx.fetch(NOTIFY, {"channel": channel, "payload": payload})


async def listen(dsn: str, options: Mapping[str, Any], channel: str) -> AsyncGenerator[str | None]:
    """Yield each payload sent to ``channel``, on a connection of its own that is made again whenever it breaks.

    None comes after each (re)connect: whatever was sent before it may have been missed. Never ends by itself.
    """
    wait_s = RETRY_FIRST_S
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, **options) as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                wait_s = RETRY_FIRST_S
                yield None
                async for payload in _payloads(connection):
                    yield payload
        except (psycopg.Error, TimeoutError) as err:
            log.warning("listening interrupted", channel=channel, error=type(err).__name__)
        # Full jitter: all control planes lose the same server at the same moment.
        await asyncio.sleep(random.uniform(0, wait_s))  # noqa: S311 - spreads retries, guards nothing
        wait_s = min(wait_s * 2, RETRY_MAX_S)


async def _payloads(connection: psycopg.AsyncConnection) -> AsyncIterator[str]:
    while True:
        async for message in connection.notifies(timeout=QUIET_S):
            yield message.payload
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await connection.execute("SELECT 1")
