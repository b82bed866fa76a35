"""Names and limits on the wire that both ends must agree on."""

# google.rpc.Status in the trailing metadata (the gRPC convention for rich errors).
DETAILS_KEY = "grpc-status-details-bin"
# ErrorInfo.reason of a SCIM error; its metadata have "status" and "scim_type".
SCIM_REASON = "SCIM_ERROR"
# From a gateway: who acts, by a token's key id, and from where.
ACTOR_ID_KEY = "muster-actor-id"
ACTOR_ADDRESS_KEY = "muster-actor-address"
# Above the 1 MiB that a resource may have, plus its envelope; larger answers are streams.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
