"""What one process remembers of presented tokens, so that PBKDF2 runs seldom and strangers cannot make it run often.

Tokens are known by an HMAC with a key of this process. Every table is bounded; the least recently used goes first.
"""

import hmac
from asyncio import Lock
from weakref import WeakValueDictionary

from cachetools import LRUCache, TTLCache

from control_plane.runtime.buckets import Allowance, Buckets
from control_plane.runtime.clock import Clock

VERIFIED, MISMATCHED, KEY_IDS = 10_000, 10_000, 10_000
# A secret that does not match never will: the time only bounds what is remembered.
MISMATCHED_FOR_S = 60.0
# Look-ups of key ids that nobody has, for each source address.
UNKNOWN_OF_SOURCE = Allowance(burst=50, permits=10)
# Wrong secrets for one key id, from everywhere together.
MISMATCHES_OF_KEY = Allowance(burst=10, permits=1, per_s=2)
# And, apart from these, from the address that the token was last used from: who knows a key id must not lock its owner
# out. It is bounded too, since many customers of an identity provider share its addresses.
MISMATCHES_OF_OWNER = Allowance(burst=50, permits=1)


class TokenMemory:
    """Tokens that were found good or bad, and how much guessing is left to whom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = clock.random_bytes(32)
        # HMAC -> the hash that the token was found to match: it counts as long as the row has this hash.
        self._verified: LRUCache[bytes, str] = LRUCache(VERIFIED)
        # HMAC -> whose key id the token has.
        self._mismatched: TTLCache[bytes, str] = TTLCache(MISMATCHED, MISMATCHED_FOR_S, clock.monotonic)
        self._key_ids: LRUCache[str, bool] = LRUCache(KEY_IDS)
        self._sources, self._keys, self._owners = Buckets(), Buckets(), Buckets()
        self._locks: WeakValueDictionary[bytes, Lock] = WeakValueDictionary()

    def digest(self, presented: str) -> bytes:
        """Return the name that a token has here."""
        return hmac.digest(self._key, presented.encode(), "sha256")

    def alone(self, digest: bytes) -> Lock:
        """Return what those who prove the same token hold one after the other: the next finds it done."""
        return self._locks.setdefault(digest, Lock())

    def hash_of(self, digest: bytes) -> str | None:
        """Return the hash that the token was last found to match, None if it was not."""
        return self._verified.get(digest)

    def note_match(self, digest: bytes, stored: str) -> None:
        """Remember that the token matches ``stored``."""
        self._verified[digest] = stored

    def tenant_of_mismatch(self, digest: bytes) -> str | None:
        """Return whose key id a token has that was found not to match; None if that is not known."""
        return self._mismatched.get(digest)

    def note_mismatch(self, digest: bytes, tenant: str) -> None:
        """Remember that the token does not match, for a minute."""
        self._mismatched[digest] = tenant

    def may_look_up(self, key_id: str, address: str) -> bool:
        """Tell whether a key id may be looked up; takes a permit of ``address`` unless somebody is known to have it.

        Without an address there is nobody to hold to account: it may.
        """
        if key_id in self._key_ids or not address:
            return True
        return self._sources.take(address, self._clock.monotonic(), UNKNOWN_OF_SOURCE) == 1

    def note_known(self, key_id: str, address: str) -> None:
        """Remember that somebody has this key id; looking it up was no guess."""
        if key_id not in self._key_ids:
            self._sources.give_back(address, UNKNOWN_OF_SOURCE)
        self._key_ids[key_id] = True

    def forgive_look_up(self, address: str) -> None:
        """Take a look-up back that got no answer."""
        self._sources.give_back(address, UNKNOWN_OF_SOURCE)

    def may_try(self, key_id: str, *, is_owners: bool) -> bool:
        """Tell whether PBKDF2 may run for a token with this key id; takes a permit."""
        buckets, allowance = self._bucket(is_owners)
        return buckets.take(key_id, self._clock.monotonic(), allowance) == 1

    def forgive_try(self, key_id: str, *, is_owners: bool) -> None:
        """Take a try back that was no failure."""
        buckets, allowance = self._bucket(is_owners)
        buckets.give_back(key_id, allowance)

    def _bucket(self, is_owners: bool) -> tuple[Buckets, Allowance]:
        return (self._owners, MISMATCHES_OF_OWNER) if is_owners else (self._keys, MISMATCHES_OF_KEY)
