"""How to ask each kind of process whether it works. Each check answers within a second, and never raises."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control_plane.client.channel import open_channel
from control_plane.client.tls import ClientTls

LIMIT_S = 1.0

Check = Callable[[], Awaitable[bool]]


def answers_http(*urls: str) -> Check:
    """Ready when each URL is answered with status 200."""

    async def check() -> bool:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
                for url in urls:
                    async with session.get(url) as response:
                        if response.status != 200:
                            return False
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        return True

    return check


def serves_grpc(address: str, tls: ClientTls | None = None) -> Check:
    """Ready when gRPC health says SERVING for the server as a whole."""

    async def check() -> bool:
        try:
            # A channel for each question: one that failed waits in back-off and would notice the restart late.
            async with open_channel(address, tls) as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=LIMIT_S
                )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return check


def accepts_queries(url: str) -> Check:
    """Ready when PostgreSQL at ``url`` runs a query: it accepts connections before it has recovered."""

    async def check() -> bool:
        import psycopg  # a heavy import that only the stack needs

        try:
            async with asyncio.timeout(LIMIT_S):
                connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
                async with connection:
                    await connection.execute("select 1")
        except (psycopg.Error, OSError, TimeoutError):
            return False
        return True

    return check


def answers_ping(host: str, port: int) -> Check:
    """Ready when Valkey answers PING: while it loads its data it accepts connections and answers an error."""

    async def check() -> bool:
        try:
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return check
