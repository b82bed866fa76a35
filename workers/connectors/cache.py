"""Open connectors, one for each target at its newest revision, shared by the leases that need them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from workers.connectors.base import Connector, Permit, TargetError
from workers.connectors.registry import ConnectorContext, Factory
from workers.messages import Target, TargetKind

# A connector that no lease used for this long is closed.
IDLE_S = 120.0
SWEEP_S = 30.0


@dataclass(slots=True)
class _Entry:
    revision: int
    connector: Connector
    users: int = 0
    used_at: float = 0.0
    is_open: bool = False
    is_retired: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    failures: int = 0  # attempts to open that failed, and the last of them
    failure: TargetError | None = None


class ConnectorCache:
    """Opens a connector at its first use and closes it when it is replaced or idle."""

    def __init__(self, factories: Mapping[TargetKind, Factory], context: ConnectorContext) -> None:
        self._factories, self._context = factories, context
        self._entries: dict[str, _Entry] = {}
        self._retired: list[_Entry] = []  # replaced while nobody used them; the next sweep closes them

    @asynccontextmanager
    async def use(self, target: Target, permit: Permit) -> AsyncIterator[Connector]:
        """Give the open connector of ``target``; a TargetError if it cannot be opened."""
        entry = self._entry(target)
        entry.users += 1
        try:
            await _open(entry, permit)
            yield entry.connector
        finally:
            entry.users -= 1
            entry.used_at = self._context.clock.monotonic()
            if entry.is_retired and not entry.users:
                await entry.connector.close()

    def _entry(self, target: Target) -> _Entry:
        entry = self._entries.get(target.id)
        # A lease that waited may name an older revision; the newest known is right for it too.
        if entry is not None and entry.revision >= target.revision:
            return entry
        fresh = _Entry(target.revision, self._factories[target.kind](target, self._context))
        if entry is not None:
            entry.is_retired = True
            if not entry.users:
                self._retired.append(entry)
        self._entries[target.id] = fresh
        return fresh

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self.run_once()

    async def run_once(self) -> int:
        """Close what is replaced or idle; return how many."""
        now = self._context.clock.monotonic()
        idle = [name for name, entry in self._entries.items() if not entry.users and now - entry.used_at >= IDLE_S]
        closing, self._retired = self._retired + [self._entries.pop(name) for name in idle], []
        for entry in closing:
            await entry.connector.close()
        return len(closing)

    async def close(self) -> None:
        """Close everything."""
        entries = [*self._entries.values(), *self._retired]
        self._entries, self._retired = {}, []
        for entry in entries:
            await entry.connector.close()


async def _open(entry: _Entry, permit: Permit) -> None:
    """Open the connector once for all who wait.

    They share a failure too: else each would wait out its own time limit on a dead target, one after the other.
    """
    before = entry.failures
    async with entry.opening:
        if entry.is_open:
            return
        if entry.failure is not None and entry.failures > before:
            raise type(entry.failure)(entry.failure.text, entry.failure.retry_after_s)
        try:
            await entry.connector.open(permit)
        except TargetError as err:
            entry.failures, entry.failure = entry.failures + 1, err
            raise
        entry.is_open = True
