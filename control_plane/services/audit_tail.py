"""Follows a tenant's chain as it grows: every event once, in its order, from any place on.

The chain itself is the memory: a watcher remembers a number, and a notification only says that it pays to look. One
that was missed costs a wait until the next sign of life.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from control_plane.domain.audit import AuditQuery
from control_plane.domain.audit_chain import Link, readable
from control_plane.domain.audit_forms import matches
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import TenantId
from control_plane.services.audit_sealer import CHANNEL, EVERYBODY
from control_plane.services.trail import Entry, Trail
from control_plane.storage import audit_chain, tenants
from control_plane.storage.engine import Storage

PAGE = 500
SIGN_OF_LIFE_S = 15.0


@dataclass(frozen=True, slots=True)
class Tailed:
    """What came: perhaps nothing (a sign of life). Everything up to ``seq`` was looked at."""

    entries: tuple[Entry, ...]
    seq: int


class AuditTail:
    """Lets any number of watchers of this process follow chains."""

    def __init__(
        self,
        storage: Storage,
        trail: Trail,
        listen: Callable[[str], AsyncGenerator[str | None]],
        sign_of_life_s: float = SIGN_OF_LIFE_S,
    ) -> None:
        """``listen`` yields what was notified, None when something may have been missed, "" as a sign of life."""
        self._storage, self._trail, self._listen, self._sign_s = storage, trail, listen, sign_of_life_s
        self._watchers: set[_Watcher] = set()
        self._is_closed = False

    async def run(self) -> None:
        """Wake watchers until cancelled."""
        async with aclosing(self._listen(CHANNEL)) as messages:
            async for message in messages:
                if message != "":
                    self._wake(message)

    def close(self) -> None:
        """End every watch: clients go on with another control plane, from the seq they know."""
        self._is_closed = True
        self._wake(None)

    async def follow(
        self, tenant: TenantId, query: AuditQuery, after_seq: int | None, *, with_personal: bool
    ) -> AsyncGenerator[Tailed]:
        """Yield what is sealed behind ``after_seq`` (None: from now on) and meets ``query``, whatever its times.

        An empty one is a sign of life. Ends when the process does; NotFound if there is no such tenant. Of what has
        expired, nothing comes.
        """
        watcher = _Watcher(str(tenant))
        self._watchers.add(watcher)
        try:
            seq = await self._start(tenant, after_seq)
            # At once: the caller knows from where on it follows.
            yield Tailed((), seq)
            while not self._is_closed:
                watcher.woken.clear()
                links, entries = await self._next(tenant, query, seq, with_personal=with_personal)
                if links:
                    is_told = bool(entries) or len(links) < PAGE
                    seq = links[-1].seq
                    if is_told:
                        yield Tailed(tuple(entries), seq)
                elif not await self._woken(watcher):
                    yield Tailed((), seq)
        finally:
            self._watchers.discard(watcher)

    async def _start(self, tenant: TenantId, after_seq: int | None) -> int:
        async with self._storage.begin(tenant, read_only=True) as tx:
            await tenants.require_owner(tx, tenant)
            head = await audit_chain.head(tx)
        end = 0 if head is None else head.seq
        if after_seq is not None and after_seq > end:
            # The database was restored from a backup, perhaps: to wait until the chain is as long again would skip what
            # comes until then.
            raise InvalidArgument("after_seq", f"the chain ends at {end}")
        return end if after_seq is None else after_seq

    async def _next(
        self, tenant: TenantId, query: AuditQuery, seq: int, *, with_personal: bool
    ) -> tuple[list[Link], list[Entry]]:
        async with self._storage.begin(tenant, read_only=True) as tx:
            links = await audit_chain.links(tx, seq, PAGE, with_personal=True)
            wanted = [one for one in links if one.content is not None and matches(query, one.content)]
            return links, await self._trail.entries(tx, readable(wanted), with_personal=with_personal)

    async def _woken(self, watcher: "_Watcher") -> bool:
        try:
            async with asyncio.timeout(self._sign_s):
                await watcher.woken.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self, message: str | None) -> None:
        is_for_all = message is None or message == EVERYBODY
        named = set() if message is None else set(message.split(","))
        for watcher in self._watchers:
            if is_for_all or watcher.tenant in named:
                watcher.woken.set()


class _Watcher:
    """One call that follows."""

    def __init__(self, tenant: str) -> None:
        self.tenant, self.woken = tenant, asyncio.Event()
