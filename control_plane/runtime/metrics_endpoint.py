"""The ``/metrics`` page of a process, served from a thread by prometheus-client."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

# Else each counter gets a second series with its creation time.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> tuple[int, Callable[[], None]]:
    """Serve ``registry`` and return the port in use (0 asks for a free one) and a function that stops serving."""
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    return server.server_address[1], stop
