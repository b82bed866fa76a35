"""How a client proves who it is to the control plane, and knows that it talks to one: mutual TLS."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import grpc

from control_plane.client.names import SERVER_NAME
from control_plane.runtime.settings import SettingsError
from control_plane.runtime.tls_files import TlsFiles, TlsPaths, TlsSettings, chosen_paths


class ClientTlsSettings(TlsSettings, Protocol):
    """What the settings of gateways and workers say."""

    @property
    def tls_server_name(self) -> str:
        """The name in the control plane's certificate."""
        ...


@dataclass(frozen=True)
class ClientTls:
    """Files to call with. ``server_name`` stands in every control plane's certificate, and in nobody else's."""

    cert: str
    key: str
    ca: str
    server_name: str = SERVER_NAME

    @cached_property
    def files(self) -> TlsFiles:
        """The files, read at the first use and kept when they are damaged later; SettingsError if they are at first."""
        return TlsFiles(TlsPaths(Path(self.cert), Path(self.key), Path(self.ca)))

    def options(self) -> list[tuple[str, str]]:
        """Return the channel options that go with :meth:`credentials`."""
        # Control planes are dialled by address, and there are many. Their name is in the certificate: a worker's or a
        # gateway's, though of the same authority, can never stand in for a control plane.
        return [("grpc.ssl_target_name_override", self.server_name)]

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what to open a channel with, as of the last :meth:`TlsFiles.reload`."""
        material = self.files.material
        return grpc.ssl_channel_credentials(material.ca, material.key, material.cert)


def client_tls(settings: ClientTlsSettings) -> ClientTls | None:
    """Return the TLS that a process's settings ask for; None for plaintext.

    SettingsError if neither or both were asked for, or if the files cannot be used.
    """
    paths = chosen_paths(settings)
    if paths is None:
        return None
    if not settings.tls_server_name:
        raise SettingsError("MUSTER_TLS_SERVER_NAME is empty: anybody's certificate could stand in for a control plane")
    tls = ClientTls(str(paths.cert), str(paths.key), str(paths.ca), settings.tls_server_name)
    _ = tls.files
    return tls
