"""The lease stream's own thread, and the hand-over between it and the handlers' loop.

Two loops, two threads, no shared state: each side posts small messages to the other with ``call_soon_threadsafe``. A
handler that blocks its loop delays only itself; heartbeats go on, and a lease that is lost meanwhile is revoked as soon
as the loop is free again, before any further call to the target (see ``permit.py``).
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVarTuple

import uvloop

from control_plane.runtime.clock import Clock
from workers.messages import Assigned, Lease, Result
from workers.metrics import WorkerMetrics
from workers.stream import Inbox, LeaseStream, StreamSettings

# How long the thread may take to end after close().
JOIN_S = 0.6

Ts = TypeVarTuple("Ts")


class StreamThread:
    """Runs a LeaseStream in a thread. Made, used and closed on the handlers' loop."""

    def __init__(self, settings: StreamSettings, clock: Clock, metrics: WorkerMetrics) -> None:
        self._handlers = asyncio.get_running_loop()
        self._loop = uvloop.new_event_loop()
        self._inbox = _Relay(self._handlers)
        self._stream = LeaseStream(settings, clock, metrics, self._inbox)
        self.ended: asyncio.Future[None] = self._handlers.create_future()
        # A daemon: a thread that hangs must not keep a process from ending.
        self._thread = threading.Thread(target=self._main, name="lease-stream", daemon=True)

    def start(self, inbox: Inbox) -> None:
        """Start the thread; ``inbox`` gets the leases.

        ``ended`` is resolved when the thread ends, with the exception if that was a defect.
        """
        self._inbox.to = inbox
        self._thread.start()

    def finish(self, result: Result) -> None:
        """Report a result."""
        self._post(self._stream.finish, result)

    def progress(self, fence: int, calls: int) -> None:
        """Tell that a lease moves."""
        self._post(self._stream.progress, fence, calls)

    def drain(self) -> None:
        """Ask for no more leases."""
        self._post(self._stream.drain)

    async def members(self, lease: Lease) -> frozenset[str]:
        """Return the target's ids of a leased group's members; LeaseGone or ControlPlaneAway."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stream.members(lease), self._loop))

    async def settled(self, timeout_s: float) -> bool:
        """Wait until every reported result is settled, at most ``timeout_s``; return whether it is so."""
        waiting = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stream.settled(), self._loop))
        try:
            async with asyncio.timeout(timeout_s):
                await waiting
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End the stream and the thread."""
        self._post(self._stream.close)
        await asyncio.wait([self.ended], timeout=JOIN_S)

    def _post(self, function: Callable[[*Ts], None], *arguments: *Ts) -> None:
        # After the thread has ended there is nobody to tell: `ended` has said so.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _main(self) -> None:
        failure: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._stream.run())
        except BaseException as err:  # handed over whole, to where somebody owns it
            failure = err
        with suppress(RuntimeError):
            self._handlers.call_soon_threadsafe(self._end, failure)

    def _end(self, failure: BaseException | None) -> None:
        if self.ended.done():
            return
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)


class _Relay:
    """The inbox as the stream sees it: each call becomes a message to the handlers' loop."""

    def __init__(self, handlers: asyncio.AbstractEventLoop) -> None:
        self._handlers = handlers
        self.to: Inbox

    def assigned(self, leases: Sequence[Assigned]) -> None:
        self._post(self.to.assigned, leases)

    def renewed(self, deadlines: dict[int, float]) -> None:
        self._post(self.to.renewed, deadlines)

    def revoked(self, fences: Sequence[int]) -> None:
        self._post(self.to.revoked, fences)

    def _post(self, function: Callable[[*Ts], None], *arguments: *Ts) -> None:
        # The handlers' loop is closed at the very end of the process only.
        with suppress(RuntimeError):
            self._handlers.call_soon_threadsafe(function, *arguments)
