"""`muster healthcheck`: asks a process on this machine the way its orchestrator would."""

import http.client
from collections.abc import Mapping

from control_plane.runtime.settings import SettingsError, host_and_port

LIMIT_S = 3.0
# Where each process listens if its settings do not say so.
CONTROL_PLANE, GATEWAY, WORKER_METRICS = "127.0.0.1:50051", "127.0.0.1:8080", "127.0.0.1:9103"
# What to dial for a server that listens everywhere.
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, dialled


def is_healthy(process: str, env: Mapping[str, str]) -> bool:
    """Tell whether the ``process`` (control-plane, gateway or worker) that ``env`` describes works."""
    match process:
        case "control-plane":
            return _serves(*_dial(env.get("MUSTER_CONTROL_PLANE_LISTEN", CONTROL_PLANE)), env)
        case "gateway":
            return _answers(*_dial(env.get("MUSTER_GATEWAY_LISTEN", GATEWAY)), "/readyz")
        case _:
            return _answers(*_dial(env.get("MUSTER_METRICS_LISTEN", WORKER_METRICS)), "/metrics")


def _dial(listen: str) -> tuple[str, int]:
    """Return where to reach what listens on ``listen``."""
    host, port = host_and_port(listen)
    return WILDCARDS.get(host, host), port


def _answers(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _serves(host: str, port: int, env: Mapping[str, str]) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from control_plane.client.tls import ClientTls

    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    files = [env.get(f"MUSTER_TLS_{name}", "") for name in ("CERT", "KEY", "CA")]
    try:
        if all(files):
            # With the process's own certificate, which says that it is a client too.
            tls = ClientTls(*files)
            channel = grpc.secure_channel(address, tls.credentials(), options=tls.options())
        else:
            channel = grpc.insecure_channel(address)
        with channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
    except (grpc.RpcError, SettingsError):
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
