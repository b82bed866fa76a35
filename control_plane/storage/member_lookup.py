"""Which of some ids could be members: for tenants that refuse unknown ones instead of skipping them."""

from collections.abc import Sequence
from typing import LiteralString

from control_plane.domain.ids import ResourceId, parse_resource_id
from control_plane.storage.engine import Tx

KNOWN: LiteralString = """
    SELECT id FROM resources WHERE id = any(%(ids)b::uuid[]) AND id <> %(group)b::uuid AND tenant_id = %(tenant)b::uuid
"""


async def unknown(tx: Tx, group: ResourceId, ids: Sequence[str]) -> list[str]:
    """Return those of ``ids`` that name no resource of this tenant, or the group itself, in their order."""
    parsed = {one: parse_resource_id(one) for one in ids}
    asked = [one for one in parsed.values() if one is not None]
    if not parsed:
        return []
    known = {row[0] for row in await tx.fetch(KNOWN, {"tenant": tx.tenant, "group": group, "ids": asked})}
    return [one for one, found in parsed.items() if found not in known]
