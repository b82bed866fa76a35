"""The Lua commands: their text, and how to run them.

A command is ``lua/<name>.lua``. What is sent is its first line (the ``#!lua`` flags, which Redis wants first), the
clock, ``lua/shared.lua`` and the rest of the command.

The clock is Redis' own, so that all replicas agree. Tests own it by passing another ``now()``; that text lives in
``tests/`` only, and ``LeaseQueue.open`` has no way to pass one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

COMMANDS = ("enqueue", "turn", "reset", "stats", "take")
SHARED = "shared"

CLOCK = """
local function now() -- us; exact in a double until the year 2255
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A command as it is sent, and the name that Redis has for it."""

    text: str
    sha: str


def lua_sources() -> dict[str, str]:
    """Return the text of each file in ``lua/`` by its name."""
    folder = files("control_plane.queue") / "lua"
    return {name: (folder / f"{name}.lua").read_text() for name in (SHARED, *COMMANDS)}


class Scripts:
    """Runs commands by their hash, and loads those that Redis does not know (yet, or after a restart)."""

    def __init__(self, sources: Mapping[str, str], clock: str = CLOCK) -> None:
        self._scripts = {name: _assemble(sources[name], clock + sources[SHARED]) for name in COMMANDS}

    async def run(self, redis: "Redis", command: str, prefix: str, *arguments: int | bytes) -> Any:
        """Return the raw reply of ``command`` on the shard of ``prefix``."""
        script = self._scripts[command]
        try:
            return await redis.evalsha(script.sha, 1, prefix, *arguments)
        except NoScriptError:
            return await redis.eval(script.text, 1, prefix, *arguments)


def _assemble(command: str, before: str) -> Script:
    flags, body = command.split("\n", 1)
    text = f"{flags}\n{before}\n{body}"
    # Redis names scripts by SHA-1; it guards nothing.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
