"""PBKDF2 off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from control_plane.domain.errors import Overloaded
from control_plane.metrics import Metrics

KDF_THREADS = 2
# Verifications that may wait for a thread; beyond that callers are told to come back.
KDF_QUEUE = 32

T = TypeVar("T")


class Kdf:
    """Two threads, a short queue, and the caller is told when it is full."""

    def __init__(self, metrics: Metrics) -> None:
        self._pool = ThreadPoolExecutor(KDF_THREADS, thread_name_prefix="kdf")
        self._waiting, self._metrics = 0, metrics

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Return ``work(*arguments)`` from a thread; Overloaded if too many wait already."""
        if self._waiting >= KDF_QUEUE + KDF_THREADS:
            raise Overloaded("token verification", retry_after_s=1.0)
        self._waiting += 1
        self._metrics.kdf_waiting.set(self._waiting)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._waiting -= 1
            self._metrics.kdf_waiting.set(self._waiting)

    def close(self) -> None:
        """End the threads without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)
