"""A channel that outlives its certificates.

gRPC for Python reads a client's certificate once, when the channel is made. So the files are looked at every few
seconds, and when they have changed a second channel is opened beside the first. Only when that one is connected do new
calls go to it; the first one is closed when its calls have ended. No call fails because of the change.
"""

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc

from control_plane.client.channel import open_channel
from control_plane.client.tls import ClientTls
from control_plane.runtime.logs import get_logger
from control_plane.runtime.tls_files import TlsMaterial

log = get_logger(__name__)

POLL_S = 2.0
# How long the new channel may take to connect; then the former one stays, and it is tried again.
CONNECT_S = 5.0
# How long calls on the former channel may go on: longer than any deadline. Streams without one are cut then, and their
# own loops open them again.
RETIRE_S = 300.0


class LastingChannel(grpc.aio.Channel):
    """A channel of which the one in use is replaced when the files of ``tls`` change. Stubs never notice."""

    def __init__(self, addresses: str, tls: ClientTls, *, poll_s: float = POLL_S, retire_s: float = RETIRE_S) -> None:
        self._addresses, self._tls, self._poll_s, self._retire_s = addresses, tls, poll_s, retire_s
        self.current, self._material = self._open()
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin to watch the files."""
        self._watching = asyncio.create_task(self._watch(), name="tls files")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Stop watching and close the channel in use and all former ones."""
        tasks = [*self._retiring, *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.current.close(grace)

    async def refresh(self) -> bool:
        """Go over to a new channel if the files have changed; tell whether that was done."""
        if self._tls.files.reload() is self._material:
            return False
        fresh, material = self._open()
        try:
            async with asyncio.timeout(CONNECT_S):
                await fresh.channel_ready()
        except TimeoutError:
            log.warning("no connection with the new certificate yet; the former one stays in use")
            await fresh.close()
            return False
        except BaseException:
            await fresh.close()
            raise
        former, self.current, self._material = self.current, fresh, material
        retiring = asyncio.create_task(self._retire(former), name="former channel")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        log.info("gRPC goes on with the new certificate", spiffe_id=material.spiffe_id)
        return True

    # What stubs and others ask of a channel: always about the one in use.

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel in use."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel in use has another state."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel in use is connected."""
        await self.current.channel_ready()

    def unary_unary(self, *given: Any, **named: Any) -> Any:
        """Return the method, which calls on the channel then in use."""
        return _Method(self, "unary_unary", given, named)

    def unary_stream(self, *given: Any, **named: Any) -> Any:
        """Return the method, which calls on the channel then in use."""
        return _Method(self, "unary_stream", given, named)

    def stream_unary(self, *given: Any, **named: Any) -> Any:
        """Return the method, which calls on the channel then in use."""
        return _Method(self, "stream_unary", given, named)

    def stream_stream(self, *given: Any, **named: Any) -> Any:
        """Return the method, which calls on the channel then in use."""
        return _Method(self, "stream_stream", given, named)

    def _open(self) -> tuple[grpc.aio.Channel, TlsMaterial]:
        channel = open_channel(self._addresses, self._tls)
        return channel, self._tls.files.material

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.refresh()
            except Exception:
                # Whatever it is: a watch that ended would show weeks later, when the certificate runs out.
                log.exception("TLS files could not be looked at")

    async def _retire(self, former: grpc.aio.Channel) -> None:
        try:
            await former.close(self._retire_s)
        except asyncio.CancelledError:
            # We are closing: nobody waits for its calls any more.
            await former.close()
            raise


class _Method:
    """One method of a stub: bound to the channel in use at each call, not at the making of the stub."""

    def __init__(self, owner: LastingChannel, kind: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._owner, self._kind, self._given, self._named = owner, kind, given, named
        self._channel: grpc.aio.Channel | None = None
        self._bound: Any = None

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call, on the channel in use."""
        if self._channel is not self._owner.current:
            self._channel = self._owner.current
            self._bound = getattr(self._channel, self._kind)(*self._given, **self._named)
        return self._bound(*given, **named)


def lasting_channel(addresses: str, tls: ClientTls | None) -> grpc.aio.Channel:
    """Return a channel for the life of a process, to be entered with ``async with``."""
    return open_channel(addresses) if tls is None else LastingChannel(addresses, tls)
