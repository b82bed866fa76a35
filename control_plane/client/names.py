"""Names and limits on the wire that both ends must agree on."""

# google.rpc.Status in the trailing metadata (the gRPC convention for rich errors).
DETAILS_KEY = "grpc-status-details-bin"
# ErrorInfo.reason of a SCIM error; its metadata have "status" and "scim_type".
SCIM_REASON = "SCIM_ERROR"
# From a gateway: who acts, by a token's key id, and from where.
ACTOR_ID_KEY = "muster-actor-id"
ACTOR_ADDRESS_KEY = "muster-actor-address"
# Its User-Agent header, of at most so many characters, all of them printable ASCII.
ACTOR_AGENT_KEY = "muster-actor-agent"
MAX_AGENT_LENGTH = 200
# The trace of a call (W3C Trace Context): "00-<32 hex trace id>-<16 hex span id>-<flags>".
TRACEPARENT_KEY = "traceparent"
# Above the 1 MiB that a resource may have, plus its envelope; larger answers are streams.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# In the certificate of every control plane, whatever its address; the default of MUSTER_TLS_SERVER_NAME.
SERVER_NAME = "control-plane.muster"


def id_in(spiffe_id: str) -> str:
    """Return what follows the role in "spiffe://<trust domain>/<role>/<id>"; "" if it has no such form."""
    return spiffe_id.removeprefix("spiffe://").partition("/")[2].partition("/")[2]


def is_name_of(worker_id: str, spiffe_id: str) -> bool:
    """Tell whether a worker with this certificate may call itself so: by its id, or by one that its id begins."""
    own = id_in(spiffe_id)
    return bool(own) and (worker_id == own or worker_id.startswith((own + "-", own + "/")))
