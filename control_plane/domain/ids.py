"""Typed ids, and UUIDv7 (RFC 9562 section 5.7): ordered by time, so that new rows land at the end of an index."""

from typing import NewType
from uuid import UUID

from control_plane.domain.errors import NotFound

TenantId = NewType("TenantId", UUID)
TokenId = NewType("TokenId", UUID)
TargetId = NewType("TargetId", UUID)
ResourceId = NewType("ResourceId", UUID)
EventId = NewType("EventId", UUID)
OperatorId = NewType("OperatorId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)

# Whose operators, API keys and audit events are the installation's own. It has no row in ``tenants``.
SYSTEM_TENANT = TenantId(UUID(int=0))


def uuid7(unix_ms: int, random: bytes) -> UUID:
    """Return the UUIDv7 of the millisecond ``unix_ms`` with 10 bytes of ``random``."""
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def parse_id(text: str, what: str) -> UUID:
    """Return the id that ``text`` spells; anything else is NotFound, like an id that does not exist."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(what, text) from None


def parse_resource_id(text: str) -> ResourceId | None:
    """Return the id that ``text`` spells, else None: an id is caseExact (RFC 7643 section 3.1), UUID() is not."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return ResourceId(found) if str(found) == text else None
