"""What is not here: endpoints not spoken yet, methods not allowed, paths unknown. Each in SCIM form."""

from typing import NoReturn

from aiohttp import web

from control_plane.scim.errors import NotImplementedHere, ResourceNotFound
from scim_gateway.errors import WrongMethod


async def not_implemented(_request: web.Request) -> NoReturn:
    """501 for the parts of RFC 7644 that this server does not speak, and does not advertise."""
    raise NotImplementedHere("this endpoint is not implemented")


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
