"""A worker that does nothing: it answers each lease with "done" as soon as it has it, over the real stream."""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass

import grpc

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from protos.lease.v1 import lease_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.bench.errors import BenchError

SESSION_BYTES = 16
BEAT_S = 1.0
LIMIT_S = 120.0

LeaseCall = grpc.aio.StreamStreamCall[pb.StreamLeasesRequest, pb.StreamLeasesResponse]


@dataclass(frozen=True, slots=True)
class Worked:
    """How many leases were settled, from the first lease's arrival to the word that the last result is durable."""

    leases: int
    seconds: float
    lost: int

    @property
    def per_second(self) -> float:
        """Leases a second."""
        return self.leases / self.seconds


class NoOpWorker:
    """One stream with ``slots`` leases at once, until ``expected`` results are settled."""

    def __init__(self, address: str, token: str, slots: int, expected: int) -> None:
        self._address, self._token = address, token
        self._slots, self._expected = slots, expected
        self._seq = self._settled = self._lost = 0
        self._began = 0.0
        self._turn = asyncio.Lock()  # one write at a time

    async def run(self) -> Worked:
        """Work; BenchError if the stream ends before, or nothing more comes."""
        async with open_channel(self._address) as channel:
            api = ControlPlane(channel, self._token)
            call: LeaseCall = api.leases.StreamLeases(metadata=api.metadata())
            await call.write(pb.StreamLeasesRequest(hello=self._hello()))
            await self._send(call, [])
            beats = asyncio.create_task(self._beat(call))
            try:
                async with asyncio.timeout(LIMIT_S):
                    return await self._work(call)
            except TimeoutError:
                raise BenchError(f"{self._settled} of {self._expected} leases settled in {LIMIT_S:g} s") from None
            except grpc.aio.AioRpcError as err:
                raise BenchError(f"lease stream: {err.code().name} {err.details()}") from err
            finally:
                beats.cancel()
                with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                    await beats
                call.cancel()

    async def _work(self, call: LeaseCall) -> Worked:
        async for message in call:
            if message.leases:
                self._began = self._began or time.perf_counter()
                # Nothing is done, so nothing is linked: the target's id stays as it is.
                done = [
                    pb.Done(
                        fence=one.fence, applied_version=one.version, remote_id=one.remote_id, effect=pb.EFFECT_NONE
                    )
                    for one in message.leases
                ]
                await self._send(call, done)
            self._lost += len(message.lost)
            self._settled += len(message.settled)
            if self._settled >= self._expected:
                return Worked(self._settled, time.perf_counter() - self._began, self._lost)
        raise BenchError("the control plane ended the lease stream")

    async def _send(self, call: LeaseCall, done: list[pb.Done]) -> None:
        async with self._turn:
            self._seq += 1
            turn = pb.Turn(seq=self._seq, credit=self._slots, done=done)
            await call.write(pb.StreamLeasesRequest(turn=turn))

    async def _beat(self, call: LeaseCall) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            await self._send(call, [])

    def _hello(self) -> pb.Hello:
        return pb.Hello(
            worker_id=f"bench-{os.getpid()}",
            session=os.urandom(SESSION_BYTES),
            protocol=1,
            kinds=[tenancy_pb2.TARGET_KIND_SCIM],
            slots=self._slots,
        )
