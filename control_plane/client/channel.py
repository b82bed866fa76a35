"""One channel to any number of control planes."""

import grpc

from control_plane.client.names import MAX_MESSAGE_BYTES
from control_plane.client.tls import ClientTls

# Client pings must not come more often than the server's min_recv_ping_interval_without_data (10 s), or it answers
# GOAWAY too_many_pings. A half-open connection is noticed after KEEPALIVE + its timeout.
KEEPALIVE_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 10_000
RECONNECT_MAX_MS = 2_000

OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MAX_MS),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.lb_policy_name", "round_robin"),
    # Each process dials for itself; a shared subchannel would outlive a cut in tests and hide it.
    ("grpc.use_local_subchannel_pool", 1),
)


def target_of(addresses: str) -> str:
    """Return gRPC's target for "host:port" or "ip:port,ip:port"; a DNS name stands for all its addresses."""
    parts = [part.strip() for part in addresses.split(",") if part.strip()]
    if not parts:
        raise ValueError("no control plane address given")
    if all(part.rsplit(":", 1)[0].replace(".", "").isdigit() for part in parts):
        return "ipv4:" + ",".join(parts)
    if len(parts) > 1:
        raise ValueError("several control planes are given as ip:port,ip:port, or as one DNS name with many addresses")
    return "dns:///" + parts[0]


def open_channel(addresses: str, tls: ClientTls | None = None) -> grpc.aio.Channel:
    """Return a channel that spreads calls over the given control planes and reconnects by itself.

    It keeps the certificate of this moment: for a process that outlives one there is ``lasting_channel``. Without
    ``tls`` it is plaintext.
    """
    if tls is None:
        return grpc.aio.insecure_channel(target_of(addresses), options=list(OPTIONS))
    tls.files.reload()
    return grpc.aio.secure_channel(target_of(addresses), tls.credentials(), options=[*OPTIONS, *tls.options()])
