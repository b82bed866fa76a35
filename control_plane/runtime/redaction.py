"""What a log line may say: known fields only, and in their text neither tokens nor e-mail addresses.

An allow list, since a list of what to hide forgets the next thing that has to be hidden. tests/rules/test_logs.py holds
it to the code.
"""

import re
from collections.abc import Mapping
from typing import Any

# What every line has.
COMMON = frozenset({"ts", "level", "event", "service", "request_id", "trace_id", "logger", "exception", "exc_info"})
# What the code adds: ids, counts, names out of closed lists. Never a value out of a resource.
FIELDS = COMMON | {
    "action",
    "address",
    "admin_port",
    "all_settled",
    "cause",
    "changed",
    "channel",
    "code",
    "constraint",
    "count",
    "counts",
    "duration_ms",
    "duties",
    "duty",
    "epoch",
    "error",
    "event_id",
    "events",
    "expires_at",
    "failure",
    "failures",
    "fence",
    "fences",
    "grace_s",
    "heads",
    "heartbeat_s",
    "held",
    "inflight",
    "key",
    "key_id",
    "keys",
    "kind",
    "last_seq",
    "lease_ttl_s",
    "leases",
    "limit_s",
    "method",
    "metrics_port",
    "number",
    "operations",
    "part",
    "path",
    "port",
    "reads",
    "reason",
    "results",
    "route",
    "rows",
    "said",
    "seconds",
    "seq",
    "slots",
    "spiffe_id",
    "sqlstate",
    "target",
    "tenant",
    "tenants",
    "where",
    "worker",
    "worker_id",
}
WITHHELD = "[withheld]"

# Errors quote what went wrong: a driver the value, a library the header.
_SECRETS = re.compile(
    r"muster_[a-z]{2,8}_[0-9A-Za-z]{12}_[0-9A-Za-z]{20,60}"  # our tokens; the key id alone is no secret
    r"|eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]*)?"  # JSON Web Tokens
    r"|(?<=[Bb]earer )[^\s\"']+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user info in a URL, such as that of a database
)
# Without one of them there is nothing to find.
_SIGNS = ("@", "muster_", "eyJ", "earer ")
_EMAIL = re.compile(r"[^\s\"'<>()=,;:]+@[^\s\"'<>()=,;:]+\.[^\s\"'<>()=,;:]+")


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log line with what it may not say taken out."""
    return {name: _masked(value) if name in FIELDS else WITHHELD for name, value in fields.items()}


def masked(text: str) -> str:
    """Return ``text`` without tokens, passwords in URLs, and e-mail addresses."""
    # Nearly all texts have none of these: searching for them costs a tenth of the expressions (each request logs).
    if not any(sign in text for sign in _SIGNS):
        return text
    return _EMAIL.sub("[e-mail]", _SECRETS.sub("[secret]", text))


def _masked(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {masked(str(key)): _masked(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(one) for one in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return masked(str(value))
