"""The epoch: which life of the lease queue this is. In PostgreSQL, since Redis may forget it. For ``begin_batch``."""

from typing import LiteralString

from control_plane.storage.engine import Tx

CURRENT: LiteralString = "SELECT epoch FROM queue_state"
ADVANCE: LiteralString = "UPDATE queue_state SET epoch = epoch + 1 WHERE epoch = %(seen)b::bigint RETURNING epoch"


async def current(tx: Tx) -> int:
    """Return the epoch."""
    epoch: int = (await tx.fetch(CURRENT))[0][0]
    return epoch


async def advance(tx: Tx, seen: int) -> int:
    """Raise the epoch by one, unless somebody raised it since it was ``seen``; return what it is now."""
    rows = await tx.fetch(ADVANCE, {"seen": seen})
    if not rows:
        return await current(tx)
    epoch: int = rows[0][0]
    return epoch
