"""The server's end of mutual TLS: certificates that are read again when they change, without a restart."""

from dataclasses import dataclass

import grpc

from control_plane.runtime.settings import SettingsError
from control_plane.runtime.tls_files import TlsFiles, TlsMaterial, TlsSettings, chosen_paths, warn_of_plaintext

MIN_TOKEN_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Transport:
    """How the server is reached: ``files`` of mutual TLS, or None for plaintext."""

    files: TlsFiles | None

    def add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Let ``server`` listen on ``address`` and return the port."""
        if self.files is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(self.files))


def transport(settings: TlsSettings, *service_tokens: str) -> Transport:
    """Return what the settings ask for; SettingsError if that is not clear, or not usable.

    Without TLS nothing but a token tells who calls, so each of ``service_tokens`` is needed then.
    """
    paths = chosen_paths(settings)
    if paths is not None:
        return Transport(TlsFiles(paths))
    if any(len(token) < MIN_TOKEN_LENGTH for token in service_tokens):
        raise SettingsError(
            "without TLS, MUSTER_GATEWAY_TOKEN and MUSTER_WORKER_TOKEN must be set, to at least "
            f"{MIN_TOKEN_LENGTH} characters each"
        )
    warn_of_plaintext()
    return Transport(None)


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that demand a client certificate and follow ``files``.

    gRPC offers TLS 1.2 and 1.3 (its Python API cannot raise the minimum), so that two of our processes always agree on
    1.3. It asks for the configuration before each handshake, on a thread of its own.
    """
    used = files.material

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        now = files.reload()
        if now is used:
            return None
        used = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        changed,  # type: ignore[arg-type]  # the stubs say bool; gRPC says "a configuration, or None for no change"
        require_client_authentication=True,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.cert)], material.ca)
