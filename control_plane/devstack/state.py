"""What `muster dev` remembers in DIR/state.json (mode 0600): secrets, ports, and the ids and tokens of its seed."""

import base64
import dataclasses
import fcntl
import json
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from control_plane.devstack.errors import FolderInUse, StateUnreadable

STATE_FILE, LOCK_FILE, RUNNING = "state.json", "lock", "running"
KEY_BYTES = 32


def new_key() -> str:
    """Return 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


@dataclass(slots=True)
class Seeded:
    """One tenant of the seed, with its SCIM token. Empty texts: not made yet."""

    display_name: str
    tenant_id: str = ""
    token_id: str = ""
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Generated once for a folder, never shown but in the ready file."""

    admin_token: str = field(repr=False)
    gateway_token: str = field(repr=False)
    worker_token: str = field(repr=False)
    target_token: str = field(repr=False)
    # Base64 of 32 bytes each.
    sealing_key: str = field(repr=False)
    # A folder from before there were checkpoints has none yet: it gets one when it is loaded.
    audit_signing_key: str = field(default_factory=new_key, repr=False)

    @classmethod
    def generate(cls) -> "Secrets":
        """Return fresh ones."""
        admin, gateway, worker, target = (secrets.token_urlsafe(32) for _ in range(4))
        return cls(admin, gateway, worker, target, sealing_key=new_key())


@dataclass(slots=True)
class State:
    """The whole file."""

    secrets: Secrets
    first: Seeded
    second: Seeded
    ports: dict[str, int] = field(default_factory=dict)
    target_id: str = ""


def load(folder: Path) -> State:
    """Return the state kept in ``folder``, or a new one; StateUnreadable if the file is damaged."""
    path = folder / STATE_FILE
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        return State(
            secrets=Secrets(**raw["secrets"]),
            first=Seeded(**raw["first"]),
            second=Seeded(**raw["second"]),
            ports={str(name): int(port) for name, port in raw["ports"].items()},
            target_id=str(raw["target_id"]),
        )
    except FileNotFoundError:
        return State(Secrets.generate(), Seeded("Acme (demo)"), Seeded("Globex (demo)"))
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise StateUnreadable(f"{path} cannot be read ({err}); restore it, or start with another --data-dir") from err


def save(folder: Path, state: State) -> None:
    """Write ``state`` to ``folder``, atomically."""
    write_private(folder / STATE_FILE, json.dumps(dataclasses.asdict(state), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace the file by ``text`` in one step, readable by its owner only."""
    # mkstemp makes it with mode 0600, so that no moment exists in which others could open it.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def lock(folder: Path) -> IO[str]:
    """Make ``folder`` this process's own until the file returned is closed; FolderInUse if it is another's."""
    file = (folder / LOCK_FILE).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        file.close()
        raise FolderInUse(f"another muster dev runs on {folder}") from err
    return file


def left_running(file: IO[str]) -> bool:
    """Tell whether the last owner of this lock ended without stopping its processes."""
    file.seek(0)
    return file.read() == RUNNING


def mark_running(file: IO[str]) -> None:
    """Note that processes run now."""
    file.truncate(0)
    file.write(RUNNING)
    file.flush()


def unlock(file: IO[str]) -> None:
    """Note that no process runs any more, and let others have the folder."""
    file.truncate(0)
    file.close()
