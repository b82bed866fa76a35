"""Values that one resource of a tenant alone may have, beside userName (which has a unique index).

Which attributes these are, a tenant decides (its custom schemas, its compatibility), so no index can say it. Instead,
whoever wants such a value takes a lock on it and looks.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import LiteralString, NamedTuple

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.storage.engine import Tx

# The displayName of groups, which is a column. All other attributes are found in attribute_values.
GROUP_NAME = "Group.displayName"
# Values of a tenant share this many locks, so that a batch of thousands does not fill the server's lock table (6,400
# places by default). Two values that share one merely wait for each other.
LOCKS = 256

# Two numbers name a lock of another kind than one: the tenant's own (engine.py) is never meant.
LOCK: LiteralString = """
    SELECT count(pg_advisory_xact_lock(%(tenant)b::integer, l.number))
    FROM (SELECT number FROM unnest(%(locks)b::integer[]) AS l (number) ORDER BY number OFFSET 0) l
"""
# A subquery for each value, which no plan can turn into a join.
HELD: LiteralString = """
    SELECT c.place,
           EXISTS (
               SELECT FROM attribute_values v
               WHERE v.value_key = c.key AND v.attribute = c.attribute AND v.tenant_id = %(tenant)b::uuid
                 AND v.resource_id <> c.resource_id
           )
    FROM unnest(%(attributes)b::text[], %(keys)b::text[], %(resources)b::uuid[])
         WITH ORDINALITY AS c (attribute, key, resource_id, place)
"""
HELD_NAMES: LiteralString = """
    SELECT c.place,
           EXISTS (
               SELECT FROM resources r
               WHERE r.display_name_key = c.key AND r.tenant_id = %(tenant)b::uuid AND r.type = 2
                 AND r.id <> c.resource_id
           )
    FROM unnest(%(keys)b::text[], %(resources)b::uuid[]) WITH ORDINALITY AS c (key, resource_id, place)
"""


class Claim(NamedTuple):
    """That ``resource`` alone shall have ``key`` (folded, as it is stored) for ``attribute``."""

    attribute: str
    key: str
    resource: ResourceId


async def claim(tx: Tx, claims: Sequence[Claim]) -> set[Claim]:
    """Return those of ``claims`` whose value another resource has; the others are safe until the end of ``tx``.

    Of equal values in ``claims`` nothing is said: they are the caller's to compare. Call it once in a transaction,
    after locking what is to be changed and before writing anything: who waits here must hold nothing that others who
    claim wait for.
    """
    if not claims:
        return set()
    locks = sorted({_lock(tx.tenant, one) for one in claims})
    await tx.fetch(LOCK, {"tenant": _number(tx.tenant.bytes), "locks": locks})
    # Only now, in statements of their own: their snapshots show what the former holders of the locks committed.
    names = [one for one in claims if one.attribute == GROUP_NAME]
    others = [one for one in claims if one.attribute != GROUP_NAME]
    return await _held(tx, HELD_NAMES, names) | await _held(tx, HELD, others)


async def _held(tx: Tx, sql: LiteralString, claims: Sequence[Claim]) -> set[Claim]:
    if not claims:
        return set()
    params = {
        "tenant": tx.tenant,
        "attributes": [one.attribute for one in claims],
        "keys": [one.key for one in claims],
        "resources": [one.resource for one in claims],
    }
    return {claims[place - 1] for place, is_held in await tx.fetch(sql, params) if is_held}


def _lock(tenant: TenantId, one: Claim) -> int:
    return _number(b"\0".join((tenant.bytes, one.attribute.encode(), one.key.encode()))) % LOCKS


def _number(content: bytes) -> int:
    """Return a signed 32-bit number that is the same in every process."""
    return int.from_bytes(blake2b(content, digest_size=4).digest(), "big", signed=True)
