"""Which addresses a tenant may give us to connect to, when they are saved. Who connects checks again."""

from urllib.parse import urlsplit

from control_plane.domain.errors import InvalidArgument
from control_plane.outgoing.guard import Guard, Refused

DEFAULT_PORTS = {"http": 80, "https": 443}
# An answer that takes longer is left to whoever connects.
RESOLVE_TIMEOUT_S = 2.0


class Reach:
    """Judges base URLs before they are stored."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def checked(self, field: str, base_url: str) -> str:
        """Return the URL without a slash at its end; InvalidArgument if no connection would ever be made to it.

        A name that cannot be resolved here passes: it may be known to the network of the workers alone.
        """
        try:
            self._guard.check_url(base_url)
            parts = urlsplit(base_url)
            port = parts.port or DEFAULT_PORTS[parts.scheme.lower()]
            await self._guard.resolve(parts.hostname or "", port, RESOLVE_TIMEOUT_S)
        except Refused as err:
            raise InvalidArgument(field, str(err)) from err
        except OSError:
            pass
        return base_url.rstrip("/")
