"""The stream that tells at once which tokens were revoked, reopened for as long as the process lives."""

import asyncio

import grpc

from control_plane.client.control_plane import ControlPlane
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from protos.tenancy.v1.tenancy_pb2 import WatchTokensRequest, WatchTokensResponse
from scim_gateway.token_verifier import SILENCE_S, TokenVerifier

log = get_logger(__name__)

RETRY_BASE_S = 0.1
RETRY_MAX_S = 2.0


class TokenWatch:
    """Feeds the verifier with what the control plane pushes."""

    def __init__(self, control_plane: ControlPlane, verifier: TokenVerifier, clock: Clock) -> None:
        self._control_plane, self._verifier, self._clock = control_plane, verifier, clock

    async def run(self) -> None:
        """Watch until cancelled; a stream that ends is opened again after a wait with full jitter."""
        failures = 0
        while True:
            failures = 0 if await self.run_once() else failures + 1
            # Full jitter: a restarted control plane must not meet all its gateways in one moment.
            await asyncio.sleep(self._clock.jitter() * min(RETRY_MAX_S, RETRY_BASE_S * 2 ** min(failures, 10)))

    async def run_once(self) -> int:
        """Open the stream, follow it to its end and return how many events it brought."""
        events = 0
        # No deadline: the stream lives as long as it speaks, see the time limit on each read.
        call = self._control_plane.tokens.WatchTokens(WatchTokensRequest(), metadata=self._control_plane.metadata())
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = await call.read()
                if not isinstance(message, WatchTokensResponse):
                    break  # grpc.aio.EOF: the control plane ended the stream
                match message.WhichOneof("event"):
                    case "reset":
                        self._verifier.on_reset()
                        log.info("token watch connected")
                    case "token_id":
                        self._verifier.on_dropped(message.token_id)
                    case "tenant_id":
                        self._verifier.on_tenant_dropped(message.tenant_id)
                    case _:
                        self._verifier.on_heartbeat()
                events += 1
        except grpc.aio.AioRpcError as err:
            log.warning("token watch lost", code=err.code().name, events=events)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The call was cancelled, not we: another channel, with new certificates, took the place of its own.
            log.info("token watch ended with its channel", events=events)
        except TimeoutError:
            log.warning("token watch silent", limit_s=SILENCE_S, events=events)
        finally:
            call.cancel()
            self._verifier.on_cut()
        return events
