"""A bounded number of places, of which no tenant gets more than its share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from control_plane.domain.errors import Overloaded
from control_plane.domain.ids import TenantId


@dataclass(slots=True)
class _Mine:
    """The places of one tenant, and how many of its tasks use or want one."""

    places: asyncio.Semaphore
    users: int = field(default=0)


class Shares:
    """Who wants a place waits first for one of its tenant's, then for one of all: the busy wait among themselves."""

    def __init__(self, places: int, each: int, *, waiting: int) -> None:
        """There are ``places`` in all and ``each`` for one tenant; at most ``waiting`` tasks wait."""
        self._all, self._each, self._limit = asyncio.Semaphore(places), each, places + waiting
        self._tenants: dict[TenantId, _Mine] = {}
        self._users = 0

    @asynccontextmanager
    async def share(self, tenant: TenantId) -> AsyncIterator[None]:
        """Hold a place; Overloaded at once if too many wait already."""
        if self._users >= self._limit:
            raise Overloaded("searching", retry_after_s=1.0)
        mine = self._tenants.setdefault(tenant, _Mine(asyncio.Semaphore(self._each)))
        mine.users += 1
        self._users += 1
        try:
            async with mine.places, self._all:
                yield
        finally:
            mine.users -= 1
            self._users -= 1
            if not mine.users:
                del self._tenants[tenant]
