"""What the supervisor and the target app that it starts agree on."""

TOKEN_VARIABLE = "MUSTER_DEV_TARGET_TOKEN"  # noqa: S105 - a variable's name
BASE_PATH = "/v2"
