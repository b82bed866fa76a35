"""Every key of the queue in Redis, the layout of its packed values, and its limits.

All keys of a shard share one hash tag, so that a script may touch them all on a cluster. ``<flow>`` is the first 32
bytes of a job key: tenant and target.

==================  ======  ==================================================  ============================
key                 type    content                                             how many
==================  ======  ==================================================  ============================
q:{q00}:epoch       string  the life of the queue, as PostgreSQL counts it      1
q:{q00}:fence       string  the last fence: max(last + 1, TIME in us)           1
q:{q00}:stat        hash    counters of this life: claimed, done, stale, ...    1
q:{q00}:J           hash    job key -> ``JOB``                                  keys that have work
q:{q00}:L           zset    leased job key -> expiry, us                        leases
q:{q00}:D           zset    delayed job key -> due, us                          delayed keys
q:{q00}:f:<flow>:c  list    resources of a flow ready in class c (0, 1, 2)      ready keys
q:{q00}:T           list    the ring of flows that have ready keys              flows with ready keys
q:{q00}:wake        channel published when the ring T gets its first flow       -
==================  ======  ==================================================  ============================

A later issue adds, beside these: ``H`` (zset, flow -> end of its hold), ``F:<flow>`` (hash: in flight, max, rate,
breaker), ``t:<tenant>`` (the ring T, one for each tenant), ``R`` and ``TN`` (tenants by virtual time, their weights).
"""

from struct import Struct

from control_plane.domain.ids import TenantId

# A tenant never spans shards, so that fairness and limits are exact inside one script. This and `shard_of` are all
# there is to change for more shards; the queue must be reset then (a new epoch), since keys move.
SHARDS = 1

MAX_CLAIMS = 256  # a turn; a longer script would hold up everybody else (about 10 us a claim)
MAX_SETTLES = 1000  # a script call; longer inputs are sent in pieces. Lua's unpack ends near 8000 values
MAX_EXTENDS = 1000
MAX_ENTRIES = 1000

# The layouts of lua/*.lua. Numbers above 32 bits travel as doubles, Lua's only number: exact up to 2^53.
JOB = Struct("<dBdHHB")  # fence, state, wanted version, attempts, stale, class
ENTRY = Struct("<48sdBB")  # key, version, class, expedite
SETTLE = Struct("<48sdBdd")  # key, fence, kind, version, delay us
EXTEND = Struct("<48sd")  # key, fence
CLAIM = Struct("<48sddHH")  # key, fence, version, attempt, stale


def shard_of(tenant: TenantId) -> int:
    """Return the shard that holds all work of ``tenant``."""
    return tenant.int % SHARDS


def prefix(shard: int) -> str:
    """Return what every key of a shard begins with."""
    return f"q:{{q{shard:02}}}:"


def wake_channel(shard: int) -> str:
    """Return the channel that says: there is something to claim again."""
    return prefix(shard) + "wake"
