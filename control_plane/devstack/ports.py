"""Which port each process of the stack listens on: fixed defaults, or free ones that are remembered."""

import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from control_plane.devstack.errors import PortTaken

HOST = "127.0.0.1"
# What `muster dev` uses without --free-ports. Processes of one role count up from these.
GATEWAY, CONTROL_PLANE, POSTGRES, VALKEY, TARGET = 8080, 50051, 5433, 6380, 8090
CONTROL_PLANE_METRICS, GATEWAY_METRICS, WORKER_METRICS = 9110, 9130, 9150

LOWEST_FREE = 15_000
ATTEMPTS = 2_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket() as probe:
        # As servers do: connections of a server that just ended (TIME_WAIT) are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def fixed(defaults: Mapping[str, int]) -> dict[str, int]:
    """Return ``defaults`` (name of a socket -> port); PortTaken names those that somebody else uses."""
    taken = [f"{port} ({name})" for name, port in defaults.items() if not is_free(port)]
    if taken:
        raise PortTaken(f"already in use: port {', '.join(taken)}. Stop what listens there, or add --free-ports.")
    return dict(defaults)


def free(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each name: the remembered one while nobody else uses it, else a free one."""
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        if not port or port in chosen.values() or not is_free(port):
            port = _find(set(chosen.values()) | set(remembered.values()))
        chosen[name] = port
    return chosen


def _find(avoid: set[int]) -> int:
    """Return a free port below the range from which the system serves outgoing connections.

    A port inside it could be lent to a client while its server restarts; and a client on loopback that dials such a
    port in vain can even end up connected to itself.
    """
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST_FREE, _ephemeral_start())  # noqa: S311 - spreads, guards nothing
        if port not in avoid and is_free(port):
            return port
    raise PortTaken(f"no free port between {LOWEST_FREE} and {_ephemeral_start()}")


def _ephemeral_start() -> int:
    try:
        start = int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError):
        start = 32_768
    # A system tuned to lend out nearly everything leaves no safe range: the top of the usual one is as good as any.
    return start if start > LOWEST_FREE + ATTEMPTS else 32_768
