"""How many more users a tenant may have: exact, however many create some at the same time.

The counters say what is committed. What others are about to commit is bounded: no more transactions run at a time than
the server has connections. So far from the limit creators share a lock and nobody waits; near it they take turns.
"""

from typing import LiteralString

from control_plane.domain.errors import Contended
from control_plane.storage.engine import Tx

# A transaction that shares the lock creates so many users at most; who creates more takes turns wherever the limit is.
SHARED_MOST = 10
# Two numbers name a lock of another kind than one; the second is none of uniqueness.py's.
QUOTA_LOCK = 1_000

# Far means so far that the second look below finds it so too, unless this waited for long. A lock that is shared is
# never asked for alone afterwards: two that do so would wait for each other.
LOCK: LiteralString = """
    WITH known AS MATERIALIZED (
        SELECT %(wanted)b::bigint <= %(most)b::bigint
               AND coalesce(sum(count), 0) + 2 * %(most)b::bigint * current_setting('max_connections')::bigint
                   <= %(limit)b::bigint AS is_far
        FROM counters WHERE tenant_id = %(tenant)b::uuid AND type = 1
    )
    SELECT is_far, CASE WHEN is_far THEN pg_advisory_xact_lock_shared(%(number)b::integer, %(lock)b::integer)
                        ELSE pg_advisory_xact_lock(%(number)b::integer, %(lock)b::integer) END
    FROM known
"""
USERS: LiteralString = """
    SELECT coalesce(sum(count), 0)::bigint, current_setting('max_connections')::bigint
    FROM counters WHERE tenant_id = %(tenant)b::uuid AND type = 1
"""


async def room(tx: Tx, limit: int, wanted: int) -> int:
    """Return how many of ``wanted`` new users ``limit`` allows; they are this transaction's until it ends.

    Call it once in a transaction, before anything else is locked or written: near the limit creators wait here for each
    other. Contended if it came near the limit while this waited.
    """
    params = {
        "tenant": tx.tenant, "limit": limit, "wanted": wanted, "most": SHARED_MOST, "lock": QUOTA_LOCK,
        "number": int.from_bytes(tx.tenant.bytes[8:12], "big", signed=True),
    }  # fmt: skip
    is_far = (await tx.fetch(LOCK, params))[0][0]
    # A statement of its own: its snapshot shows what those committed who held the lock before.
    users, transactions = (await tx.fetch(USERS, {"tenant": tx.tenant}))[0]
    if not is_far:
        return max(0, min(wanted, limit - int(users)))
    if users + SHARED_MOST * transactions > limit:
        raise Contended
    return wanted
