"""The ready file of `muster dev`: how programs learn where everything is (architecture.md section 5)."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from control_plane.devstack.state import write_private


class Role(StrEnum):
    """What a process is."""

    CONTROL_PLANE = "control-plane"
    GATEWAY = "gateway"
    CONSOLE = "console"
    PORTAL = "portal"
    WORKER = "worker"
    POSTGRES = "postgres"
    REDIS = "redis"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class ReadyProcess:
    """One process; ``metrics_url`` is None for the engines and the target."""

    name: str
    role: Role
    pid: int
    port: int
    metrics_url: str | None


@dataclass(frozen=True, slots=True)
class ReadyTarget:
    """The target app of the first tenant."""

    id: str
    name: str
    kind: str
    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadyTls:
    """Files to call the control plane with, as people do, and the name in its certificate."""

    ca: str
    cert: str
    key: str
    server_name: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The file's content, in the file's order. A key for what does not exist yet is None."""

    scim_base_url: str
    tenant: str
    scim_token: str = field(repr=False)
    second_tenant: str
    second_scim_token: str = field(repr=False)
    grpc_target: str
    grpc_plaintext: bool
    grpc_tls: ReadyTls | None
    admin_token: str = field(repr=False)
    console_url: str | None
    console_user: str | None
    console_password: str | None = field(repr=False)
    portal_url: str | None
    postgres_url: str
    redis_url: str
    target: ReadyTarget | None
    processes: tuple[ReadyProcess, ...]


def write(path: Path, ready: Ready) -> None:
    """Replace the file at ``path`` in one step, mode 0600."""
    write_private(path, json.dumps(asdict(ready), indent=2) + "\n")


def remove(path: Path) -> None:
    """Remove the file: what it said is no longer so."""
    path.unlink(missing_ok=True)
