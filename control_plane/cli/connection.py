"""Where the admin API is and the token for it: options, a ready file, or the environment."""

import json
import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.runtime.settings import SettingsError, from_env, setting

DEFAULT_ADDRESS = "127.0.0.1:50051"

if TYPE_CHECKING:
    from control_plane.client.tls import ClientTls


class NoConnection(Exception):
    """It is not said where the control plane is or who asks; the message says how to."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the admin commands read from the environment."""

    control_plane: str = setting("Control planes, ip:port,ip:port or one DNS name", default="")
    admin_token: str = setting(
        "Bearer token to call with: the admin token, an API key, or an OIDC token",
        default="",
        secret=True,
    )
    tls_cert: str = setting("File with the certificate to call with, PEM", default="")
    tls_key: str = setting("File with its private key, PEM", default="")
    tls_ca: str = setting("File with the certificates that the control plane's must lead to, PEM", default="")
    tls_server_name: str = setting("The name in the control plane's certificate", default="control-plane.muster")
    plaintext: bool = setting("Call a control plane on another machine without TLS, as it serves", default=False)
    ready_file: str = setting("Ready file of `muster dev`, instead of the two above", default="")


@dataclass(frozen=True, slots=True)
class Connection:
    """An address and a credential; ``tls`` None: plaintext."""

    address: str
    admin_token: str = field(repr=False)
    tls: "ClientTls | None" = None


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
        raise NoConnection("no token: set MUSTER_ADMIN_TOKEN or MUSTER_ADMIN_TOKEN_FILE, or give --ready-file")
    tls = named.tls if named else _tls_of(env) or (fallback.tls if fallback and fallback.address == address else None)
    address = address or DEFAULT_ADDRESS
    if tls is None and not env.plaintext and not _is_here(address):
        raise NoConnection(
            f"without TLS everybody on the way to {address} can read the token: "
            "name MUSTER_TLS_CERT, MUSTER_TLS_KEY and MUSTER_TLS_CA, or set MUSTER_PLAINTEXT=true"
        )
    return Connection(address, admin_token, tls)


def _is_here(addresses: str) -> bool:
    """Tell whether all of "host:port,host:port" are on this machine."""
    hosts = [one.strip().rpartition(":")[0].strip("[]") for one in addresses.split(",")]
    return all(host == "localhost" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_of(env: ClientSettings) -> "ClientTls | None":
    """Return the TLS that the environment asks for, None if it names no file; NoConnection if it names some only."""
    files = (env.tls_cert, env.tls_key, env.tls_ca)
    if not any(files):
        return None
    if not all(files):
        raise NoConnection("MUSTER_TLS_CERT, MUSTER_TLS_KEY and MUSTER_TLS_CA are only of use together")
    # A heavy import, for those who need it.
    from control_plane.client.tls import ClientTls

    return ClientTls(*files, env.tls_server_name)


def _read(path: Path | None) -> Connection | None:
    if path is None:
        return None
    try:
        ready = json.loads(path.read_text())
        return Connection(str(ready["grpc_target"]), str(ready["admin_token"]), _tls_in(ready.get("grpc_tls")))
    except OSError as err:
        raise NoConnection(f"ready file {path} cannot be read: {err.strerror}") from err
    except (ValueError, KeyError, TypeError) as err:
        raise NoConnection(f"{path} is not a ready file of muster dev") from err


def _tls_in(told: dict[str, str] | None) -> "ClientTls | None":
    if told is None:
        return None
    from control_plane.client.tls import ClientTls

    return ClientTls(told["cert"], told["key"], told["ca"], told["server_name"])
