"""Where the admin API is and the token for it: options, a ready file, or the environment."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.runtime.settings import SettingsError, from_env, setting

DEFAULT_ADDRESS = "127.0.0.1:50051"


class NoConnection(Exception):
    """It is not said where the control plane is or who asks; the message says how to."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the admin commands read from the environment."""

    control_plane: str = setting("Control planes, ip:port,ip:port or one DNS name", default="")
    admin_token: str = setting("Bearer token that authorises admin calls", default="", secret=True)
    ready_file: str = setting("Ready file of `muster dev`, instead of the two above", default="")


@dataclass(frozen=True, slots=True)
class Connection:
    """An address and a credential."""

    address: str
    admin_token: str = field(repr=False)


def resolve(address: str, admin_token: str, ready_file: Path | None) -> Connection:
    """Return what the options say, then a ready file named by option, then the environment."""
    try:
        env = from_env(ClientSettings, os.environ)
    except SettingsError as err:
        raise NoConnection(str(err)) from err
    named = _read(ready_file)
    fallback = _read(Path(env.ready_file)) if env.ready_file and named is None else None
    for known in (named, Connection(env.control_plane, env.admin_token), fallback):
        if known is not None:
            address, admin_token = address or known.address, admin_token or known.admin_token
    if not admin_token:
        raise NoConnection("no admin token: set MUSTER_ADMIN_TOKEN or MUSTER_ADMIN_TOKEN_FILE, or give --ready-file")
    return Connection(address or DEFAULT_ADDRESS, admin_token)


def _read(path: Path | None) -> Connection | None:
    if path is None:
        return None
    try:
        ready = json.loads(path.read_text())
        return Connection(str(ready["grpc_target"]), str(ready["admin_token"]))
    except OSError as err:
        raise NoConnection(f"ready file {path} cannot be read: {err.strerror}") from err
    except (ValueError, KeyError, TypeError) as err:
        raise NoConnection(f"{path} is not a ready file of muster dev") from err
