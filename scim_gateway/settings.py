"""What the gateway can be told; each field is a ``MUSTER_*`` variable."""

from dataclasses import dataclass

from control_plane.runtime.settings import setting


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Settings of one gateway process."""

    gateway_token: str = setting(
        "Secret with which the gateway calls the control plane; empty: its certificate does", default="", secret=True
    )
    tls_cert: str = setting("File with this process's certificate chain, PEM; read again when it changes", default="")
    tls_key: str = setting("File with its private key, PEM", default="")
    tls_ca: str = setting("File with the certificates that the control plane's must lead to, PEM", default="")
    tls_server_name: str = setting("The name in the control plane's certificate", default="control-plane.muster")
    plaintext: bool = setting("Call the control plane without TLS, as it serves", default=False)
    gateway_listen: str = setting(
        "host:port of the SCIM endpoint; port 0 asks for a free one", default="127.0.0.1:8080"
    )
    gateway_reuse_port: bool = setting(
        "Whether several gateways on one machine share the port (SO_REUSEPORT); each of them must say so", default=False
    )
    gateway_public_url: str = setting(
        'URL before "/scim/v2" in answers, as the outside sees it; empty: scheme and Host of the request', default=""
    )
    gateway_trusted_proxies: str = setting(
        "Networks (CIDR, comma-separated) whose Forwarded and X-Forwarded-For/-Proto/-Host count; the URL above wins",
        default="",
    )
    gateway_admin_listen: str = setting(
        "host:port for /livez, /readyz and /startupz, apart from the SCIM endpoint; empty: they share the port",
        default="",
    )
    control_plane: str = setting("Control planes, ip:port,ip:port or one DNS name", default="127.0.0.1:50051")
    metrics_listen: str = setting("host:port of /metrics; port 0 asks for a free one", default="127.0.0.1:9102")
    log_level: str = setting("DEBUG, INFO, WARNING or ERROR", default="INFO")
    gateway_max_body_bytes: int = setting("Largest request body in bytes; more is 413", default=1_048_576)
    gateway_max_line_bytes: int = setting("Longest request target in bytes; more is 414", default=8_000)
    gateway_max_header_bytes: int = setting("Longest header field in bytes; more is 431", default=8_192)
    gateway_max_headers: int = setting("Most header fields of a request; more is 431", default=100)
    gateway_max_connections: int = setting("Most open connections; one more is answered 503 and closed", default=2_000)
    gateway_max_connections_per_source: int = setting(
        "Most open connections of one address (IPv6: of one /64); trusted proxies have no such limit; then 503",
        default=200,
    )
    gateway_header_timeout_s: float = setting(
        "Seconds for a connection's first byte, and for the headers of each request; then 408 or closed", default=10.0
    )
    gateway_body_timeout_s: float = setting("Seconds for a request's body; then 408", default=30.0)
    gateway_write_timeout_s: float = setting(
        "Seconds that a client may leave an answer unread; then the connection is cut", default=30.0
    )
    gateway_keepalive_timeout_s: float = setting(
        "Seconds that an idle connection is kept after an answer", default=75.0
    )
    gateway_rpc_timeout_s: float = setting("Deadline in seconds of a call to the control plane; then 503", default=10.0)
    gateway_stream_timeout_s: float = setting("Deadline in seconds of a streamed list or member list", default=60.0)
    gateway_bulk_timeout_s: float = setting("Deadline in seconds of a bulk request", default=60.0)
    gateway_token_cache_size: int = setting("Most verified bearer tokens kept in memory", default=10_000)
    gateway_refusal_delay_s: float = setting(
        "Seconds that answers are held back from whoever tries many bad tokens; 0: none is", default=1.0
    )
    gateway_drain_s: float = setting("Seconds after SIGTERM in which requests at work may finish", default=8.0)
