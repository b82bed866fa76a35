"""An HTTP client session that connects only where a guard lets it, and to the very address that was checked."""

import socket
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from control_plane.outgoing.guard import RESOLVE_TIMEOUT_S, Guard, Refused


class GuardedResolver(AbstractResolver):
    """Resolves through a guard. aiohttp connects to what this returns, so that a second answer changes nothing."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the permitted addresses of ``host``."""
        try:
            found = await self._guard.resolve(host, port, RESOLVE_TIMEOUT_S)
        except Refused as err:
            # What aiohttp knows from a resolver; it becomes a ClientConnectorDNSError.
            raise OSError(str(err)) from err
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def guarded_session(guard: Guard, *, connections: int, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session with at most ``connections`` that makes no request which is not permitted.

    Such a request raises ``guard.Refused``, or a ClientError in which :func:`refusal_in` finds it. The session knows no
    proxies of the environment and keeps no cookies: a target must not set one that another tenant's target on the same
    host gets.
    """

    async def checked(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # For addresses, which aiohttp does not resolve; and for each hop, should a redirect ever be followed.
        guard.check_url(str(request.url))
        return await send(request)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, resolver=GuardedResolver(guard)),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        middlewares=(checked,),
    )


def refusal_in(err: BaseException) -> Refused | None:
    """Return the refusal that ``err`` is or stems from, if it does."""
    cause: BaseException | None = err
    while cause is not None and not isinstance(cause, Refused):
        cause = cause.__cause__
    return cause
