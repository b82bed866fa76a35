"""What a worker process is told by its environment."""

import os
import socket
from dataclasses import dataclass

from control_plane.client.channel import target_of
from control_plane.outgoing.guard import Guard
from control_plane.runtime.settings import SettingsError, setting

# As in lease.proto, Hello.slots.
MAX_SLOTS = 1000
MAX_ID_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """One field for each ``MUSTER_*`` variable of a worker."""

    worker_token: str = setting(
        "Token that the control plane knows this worker by; empty: its certificate does", default="", secret=True
    )
    tls_cert: str = setting("File with this process's certificate chain, PEM; read again when it changes", default="")
    tls_key: str = setting("File with its private key, PEM", default="")
    tls_ca: str = setting("File with the certificates that the control plane's must lead to, PEM", default="")
    tls_server_name: str = setting("The name in the control plane's certificate", default="control-plane.muster")
    plaintext: bool = setting("Call the control plane without TLS, as it serves", default=False)
    allowed_networks: str = setting(
        "Private networks (CIDR, comma-separated) that targets may be in; all other private addresses are refused",
        default="",
    )
    control_plane: str = setting("Control planes: ip:port,ip:port or one name:port", default="127.0.0.1:50051")
    worker_id: str = setting(
        "This worker's name in logs and audit; under TLS it begins with the certificate's id; empty: host-pid",
        default="",
    )
    worker_slots: int = setting("Leases worked on at once, 1 to 1000", default=16)
    worker_call_timeout_s: float = setting(
        "Longest call to a target, seconds; never more than a third of a lease's life", default=10.0
    )
    worker_drain_s: float = setting("Seconds that running leases may finish in after SIGTERM", default=8.0)
    metrics_listen: str = setting("host:port of /metrics; port 0 asks for a free one", default="127.0.0.1:9103")
    log_level: str = setting("DEBUG, INFO, WARNING or ERROR", default="INFO")

    def __post_init__(self) -> None:
        """Refuse values that could only fail later."""
        if not self.worker_token and not self.tls_cert:
            raise SettingsError("neither MUSTER_WORKER_TOKEN nor MUSTER_TLS_CERT is given")
        if not 1 <= self.worker_slots <= MAX_SLOTS:
            raise SettingsError(f"MUSTER_WORKER_SLOTS is {self.worker_slots}, not between 1 and {MAX_SLOTS}")
        if self.worker_call_timeout_s <= 0:
            raise SettingsError("MUSTER_WORKER_CALL_TIMEOUT_S must be above 0")
        if self.worker_drain_s < 0:
            raise SettingsError("MUSTER_WORKER_DRAIN_S must not be below 0")
        if len(self.worker_id) > MAX_ID_CHARACTERS:
            raise SettingsError(f"MUSTER_WORKER_ID is longer than {MAX_ID_CHARACTERS} characters")
        try:
            target_of(self.control_plane)
        except ValueError as err:
            raise SettingsError(f"MUSTER_CONTROL_PLANE: {err}") from err
        try:
            Guard.parse(self.allowed_networks)
        except ValueError as err:
            raise SettingsError(f"MUSTER_ALLOWED_NETWORKS: {err}") from err
        self.metrics_address()

    def name(self) -> str:
        """Return this worker's id: the same over reconnects of one process."""
        return self.worker_id or f"{socket.gethostname()[:100]}-{os.getpid()}"

    def metrics_address(self) -> tuple[str, int]:
        """Return host and port of ``/metrics``."""
        host, _, port = self.metrics_listen.rpartition(":")
        if not host or not port.isdigit():
            raise SettingsError(f"MUSTER_METRICS_LISTEN is {self.metrics_listen!r}, which is not host:port")
        return host.strip("[]"), int(port)
