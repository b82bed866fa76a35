"""Tells every gateway at once which verified tokens to drop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager

from control_plane.runtime.clock import Clock

# Payloads: a token's id, or TENANT_PREFIX and a tenant's id: its state or its limits changed.
CHANNEL = "muster_tokens"
TENANT_PREFIX = "tenant:"
WATCHER_QUEUE = 1_000
# The database is asked each second whether it still tells us of changes; after this long without a word it does not.
SILENCE_S = 2.5


class TokenWatch:
    """Tells every gateway that watches which tokens changed, whichever control plane changed them."""

    def __init__(self, listen: Callable[[str], AsyncGenerator[str | None, None]], clock: Clock) -> None:
        """``listen`` yields what changed, None when changes may have been missed, "" as a sign of life."""
        self._listen, self._clock = listen, clock
        self._watchers: set[asyncio.Queue[str | None]] = set()
        self._alive_at = float("-inf")
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Pass changes on until cancelled."""
        async with aclosing(self._listen(CHANNEL)) as changes:
            async for changed in changes:
                self._alive_at = self._clock.monotonic()
                if changed != "":
                    for queue in self._watchers:
                        _offer(queue, changed)

    def is_live(self) -> bool:
        """Tell whether changes would be heard: if not, gateways must not be told that all is well."""
        return self._clock.monotonic() - self._alive_at < SILENCE_S and not self._closed.is_set()

    def close(self) -> None:
        """End every watch: gateways go on with another control plane."""
        self._closed.set()
        for queue in self._watchers:
            _offer(queue, None)

    @property
    def is_closed(self) -> bool:
        """Whether watches are to end."""
        return self._closed.is_set()

    @contextmanager
    def watch(self) -> Iterator[Callable[[], Awaitable[str | None]]]:
        """Give a function that waits for the next change; None means: drop everything. The first is None."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(WATCHER_QUEUE)
        queue.put_nowait(None)
        self._watchers.add(queue)
        try:
            yield queue.get
        finally:
            self._watchers.discard(queue)


def _offer(queue: asyncio.Queue[str | None], changed: str | None) -> None:
    """Queue a change; a gateway that does not read has to drop everything when it does."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        changed = None
    queue.put_nowait(changed)
