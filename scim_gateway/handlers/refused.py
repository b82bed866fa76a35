"""What is not here: the endpoint that cannot be, methods not allowed, paths unknown. Each in SCIM form."""

from typing import NoReturn

from aiohttp import web

from control_plane.scim.errors import NotImplementedHere, ResourceNotFound
from scim_gateway.errors import WrongMethod


async def no_me(_request: web.Request) -> NoReturn:
    """501 for /Me (RFC 7644 section 3.11), whatever the method."""
    raise NotImplementedHere("/Me is not implemented: a token belongs to a provisioning client, not to a user")


async def not_found(_request: web.Request) -> NoReturn:
    """404 for every other path."""
    raise ResourceNotFound("there is no such endpoint")


class MethodGuard:
    """405 for the other methods of a known path."""

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed

    async def refuse(self, _request: web.Request) -> NoReturn:
        """Raise WrongMethod with the methods that are allowed."""
        raise WrongMethod(self._allowed)
