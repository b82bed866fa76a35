"""The proof that a lease was granted to one worker: sent with the lease, shown again with every question about it.

A key, an epoch and a fence are no secret: they stand in logs, and the last two can be guessed. Without the grant nobody
can adopt a lease, read a group's members by it, or report its result on a new stream.
"""

import hashlib
import hmac
from collections.abc import Sequence

from control_plane.domain.errors import LeaseLost
from control_plane.domain.jobs import Fence, JobKey


class Grants:
    """Makes and checks grants; every control plane with the same keys knows the others' grants."""

    def __init__(self, *keys: bytes) -> None:
        """The first key makes; grants of the others, former ones, are still good."""
        self._keys = keys

    def issue(self, identity: str, worker: str, key: JobKey, fence: Fence) -> bytes:
        """Return the grant of one lease to ``worker``, as whom the caller ``identity`` introduced itself."""
        return _mac(self._keys[0], identity, worker, key, fence)

    def check(self, grant: bytes, identity: str, worker: str, key: JobKey, fence: Fence) -> None:
        """Do nothing if this lease was granted to this worker; LeaseLost if not."""
        if not self.is_good(grant, identity, worker, key, fence):
            raise LeaseLost("the lease was not granted to this worker")

    def is_good(self, grant: bytes, identity: str, worker: str, key: JobKey, fence: Fence) -> bool:
        """Tell whether this lease was granted to this worker."""
        expected = (_mac(one, identity, worker, key, fence) for one in self._keys)
        return any(hmac.compare_digest(grant, one) for one in expected)


def _mac(secret: bytes, identity: str, worker: str, key: JobKey, fence: Fence) -> bytes:
    parts: Sequence[bytes] = (identity.encode(), worker.encode(), key.pack())
    numbers = fence.epoch.to_bytes(8, "big") + fence.fence.to_bytes(8, "big")
    # Each length before its part: no other identity and worker give the same text.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts) + numbers
    return hmac.digest(secret, message, hashlib.sha256)
