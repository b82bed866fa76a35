"""Health for load balancers: no authentication, no versions."""

from aiohttp import web

from scim_gateway.token_verifier import TokenVerifier


class HealthHandlers:
    """/livez, /readyz and /startupz."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self.is_stopping = False

    async def livez(self, _request: web.Request) -> web.StreamResponse:
        """200 as long as the event loop turns."""
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.StreamResponse:
        """200 while the control plane is heard of and the process is not stopping, else 503."""
        if self._verifier.is_watched and not self.is_stopping:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready"}, status=503)

    async def startupz(self, _request: web.Request) -> web.StreamResponse:
        """200 once the control plane was heard of for the first time, else 503."""
        if self._verifier.was_watched:
            return web.json_response({"status": "started"})
        return web.json_response({"status": "starting"}, status=503)
