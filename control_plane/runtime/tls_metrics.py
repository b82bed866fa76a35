"""The metric that tells when a process's certificate runs out, before it does."""

from prometheus_client import CollectorRegistry, Gauge

from control_plane.runtime.tls_files import TlsFiles


def show_expiry(registry: CollectorRegistry, files: TlsFiles) -> None:
    """Let ``registry`` show when the certificate in ``files``, as they are when it is asked, runs out."""

    def expires() -> float:
        return files.reload().expires_at.timestamp()

    gauge = Gauge(
        "scim_tls_certificate_expires_timestamp_seconds",
        "When this process's certificate for mutual TLS runs out, in seconds since 1970.",
        registry=registry,
    )
    gauge.set_function(expires)
