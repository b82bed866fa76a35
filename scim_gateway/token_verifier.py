"""Whose bearer token is this? A bounded cache of what the control plane said, kept honest by the watch stream.

Tokens are keyed by an HMAC with a key of this process, so that neither the cache nor a timing tells anything about
them. An entry counts as long as the watch stream is alive; without it only for :data:`REVALIDATE_S`, after which the
control plane is asked again. If it cannot be asked, the request fails (503): never open, and never with a 401.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cachetools import LRUCache

from control_plane.client.errors import TokenRefused
from control_plane.runtime.clock import Clock
from scim_gateway.caller import Caller
from scim_gateway.errors import AuthenticationFailed, Throttled
from scim_gateway.forwarded import source_of
from scim_gateway.metrics import GatewayMetrics
from scim_gateway.questions import Questions

# How long an answer counts when no watch stream vouches for it: less than the second in which a revocation must work.
REVALIDATE_S = 0.75
# The control plane sends three heartbeats a second: without one for so long the stream vouches for nothing,
VOUCHING_S = 0.9
# and after so long it is taken for dead and opened anew.
SILENCE_S = 3.0
# Another control plane may answer from memory that it has not dropped yet: after a revocation trust nothing for long.
SETTLE_S = 15.0
REFUSED_FOR_S = 10.0
MAX_REFUSED = 10_000
MAX_DROPS = 10_000
# The one cause that depends on who asks: it is remembered, and shared, for its address only.
NETWORK = "network"
# The one that says nothing of the token: there were too many failures to look at it. 401 would end a client's trust in
# a token that may be good.
THROTTLED = "throttled"
THROTTLED_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller
    asked_at: float  # monotonic, before the question was sent
    is_firm: bool  # asked while the watch stream already covered this token


@dataclass(frozen=True, slots=True)
class _Refusal:
    until: float
    reason: str
    tenant: str


Outcome = Caller | Exception


@dataclass(frozen=True, slots=True)
class _Flight:
    answer: asyncio.Future[Outcome]
    asked_at: float


# What is asked: the token as presented, and the address it came from.
Ask = Callable[[str, str], Awaitable[Caller]]


class TokenVerifier:
    """Answers from memory where it may, else asks the control plane, once per token at a time."""

    def __init__(self, ask: Ask, clock: Clock, metrics: GatewayMetrics, capacity: int) -> None:
        """``ask`` raises client.errors.TokenRefused for a bad token, other client errors when there is no answer."""
        self._ask, self._clock, self._metrics, self._capacity = ask, clock, metrics, capacity
        self._questions = Questions(clock)
        self._process_key = clock.random_bytes(32)
        self._verified: OrderedDict[bytes, _Entry] = OrderedDict()
        self._key_of_token: dict[str, bytes] = {}
        self._keys_of_tenant: dict[str, set[bytes]] = {}
        # Tokens that were good once: a question about them is not held against anybody.
        self._good: LRUCache[bytes, bool] = LRUCache(capacity)
        self._refused: OrderedDict[bytes, _Refusal] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._drops: dict[str, float] = {}
        self._reset_at: float | None = None
        self._alive_at: float | None = None

    async def verify(self, presented: str, address: str) -> Caller:
        """Return who presents this token; AuthenticationFailed if nobody, client errors if that cannot be learnt.

        Throttled or Busy if it is not asked, see questions.py. ``address`` is the client's.
        """
        key = hmac.digest(self._process_key, presented.encode(), "sha256")
        came_at = self._clock.monotonic()
        while True:
            if (caller := self._from_memory(key, address)) is not None:
                self._metrics.cache_hits.inc()
                return caller
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, presented, address)
            await asyncio.wait([flight.answer])
            if flight.answer.cancelled():
                continue  # its leader was cancelled: somebody else has to ask
            outcome = flight.answer.result()
            if isinstance(outcome, AuthenticationFailed) and outcome.reason == NETWORK:
                continue  # said of the leader's address; of this one memory knows, or has to learn
            if isinstance(outcome, Exception):
                raise outcome
            if came_at - flight.asked_at > REVALIDATE_S:
                continue  # a slow answer, to a question of long before: it counts if memory may keep it
            return outcome

    @property
    def is_watched(self) -> bool:
        """Whether the watch stream is connected and was heard of lately."""
        return self._alive_at is not None and self._clock.monotonic() - self._alive_at <= SILENCE_S

    @property
    def was_watched(self) -> bool:
        """Whether the watch stream has been connected since the process began."""
        return self._reset_at is not None

    def on_reset(self) -> None:
        """Forget everything: revocations may have been missed. The stream is alive from here on."""
        self._verified.clear()
        self._key_of_token.clear()
        self._keys_of_tenant.clear()
        self._refused.clear()
        self._drops.clear()
        self._reset_at = self._clock.monotonic()
        self.on_heartbeat()

    def on_dropped(self, token_id: str) -> None:
        """Forget one token, also what is being asked about it just now."""
        self.on_heartbeat()
        if (key := self._key_of_token.get(token_id)) is not None:
            self._forget(key)
        self._note_drop(token_id)

    def on_tenant_dropped(self, tenant_id: str) -> None:
        """Forget all tokens of a tenant, the refused ones too: it may have been restored."""
        self.on_heartbeat()
        for key in list(self._keys_of_tenant.get(tenant_id, ())):
            self._forget(key)
        for key in [key for key, refusal in self._refused.items() if refusal.tenant == tenant_id]:
            del self._refused[key]
        self._note_drop(tenant_id)

    def on_heartbeat(self) -> None:
        """The stream is alive."""
        self._alive_at = self._clock.monotonic()
        self._metrics.watch_connected.set(1)

    def on_cut(self) -> None:
        """The stream is gone: what is known counts for a moment only."""
        self._alive_at = None
        self._metrics.watch_connected.set(0)

    def _from_memory(self, key: bytes, address: str) -> Caller | None:
        """Return the caller if known and still good; AuthenticationFailed if known to be refused; None: ask."""
        now = self._clock.monotonic()
        entry = self._verified.get(key)
        if entry is None:
            self._raise_refusal(key, now)
            self._raise_refusal(_at(key, address), now)
            return None
        expires_at = entry.caller.expires_at
        is_expired = expires_at is not None and expires_at <= self._clock.now()
        is_covered = entry.is_firm and self._alive_at is not None and now - self._alive_at <= VOUCHING_S
        if is_expired or not (is_covered or now - entry.asked_at <= REVALIDATE_S):
            self._forget(key)
            return None
        self._verified.move_to_end(key)
        return entry.caller

    def _raise_refusal(self, key: bytes, now: float) -> None:
        refusal = self._refused.get(key)
        if refusal is None:
            return
        if now < refusal.until:
            self._metrics.cache_hits.inc()
            raise AuthenticationFailed(refusal.reason, refusal.tenant)
        del self._refused[key]

    async def _lead(self, key: bytes, presented: str, address: str) -> Caller:
        """Ask the control plane; those who come with the same token meanwhile wait for this answer."""
        flight = _Flight(asyncio.get_running_loop().create_future(), self._clock.monotonic())
        self._flights[key] = flight
        self._metrics.cache_misses.inc()
        try:
            outcome = await self._learn(key, presented, address)
            flight.answer.set_result(outcome)
        finally:
            del self._flights[key]
            if not flight.answer.done():
                flight.answer.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _learn(self, key: bytes, presented: str, address: str) -> Outcome:
        asked_at = self._clock.monotonic()
        try:
            with self._questions.asking(source_of(address), was_good=key in self._good):
                caller = await self._ask(presented, address)
        except TokenRefused as err:
            if err.cause == THROTTLED:
                return Throttled("too many bearer tokens were refused, try again later", THROTTLED_RETRY_S)
            if not self._was_dropped_since(asked_at, err.tenant):
                self._remember_refusal(key, address, err)
            return AuthenticationFailed(err.cause, err.tenant)
        except Exception as err:
            # Handed to all who wait; raised, and logged, where each request ends.
            return err
        self._good[key] = True
        if not self._was_dropped_since(asked_at, caller.token_id, caller.tenant_id):
            self._remember(key, _Entry(caller, asked_at, self._is_firm(caller, asked_at)))
        return caller

    def _note_drop(self, dropped_id: str) -> None:
        if len(self._drops) >= MAX_DROPS:
            # More than can be remembered one by one: nothing asked before now is firm.
            self._drops.clear()
            self._reset_at = self._clock.monotonic()
        self._drops[dropped_id] = self._clock.monotonic()

    def _was_dropped_since(self, asked_at: float, *ids: str) -> bool:
        """Whether an answer may be older than what the stream told meanwhile: then it is for who asked, and no more."""
        times = (self._reset_at, *(self._drops.get(each) for each in ids))
        return any(at is not None and at > asked_at for at in times)

    def _is_firm(self, caller: Caller, asked_at: float) -> bool:
        if self._reset_at is None or asked_at < self._reset_at:
            return False
        dropped = (self._drops.get(each) for each in (caller.token_id, caller.tenant_id))
        return all(at is None or asked_at > at + SETTLE_S for at in dropped)

    def _remember(self, key: bytes, entry: _Entry) -> None:
        self._forget(key)
        self._verified[key] = entry
        self._key_of_token[entry.caller.token_id] = key
        self._keys_of_tenant.setdefault(entry.caller.tenant_id, set()).add(key)
        while len(self._verified) > self._capacity:
            self._forget(next(iter(self._verified)))

    def _remember_refusal(self, key: bytes, address: str, err: TokenRefused) -> None:
        if err.cause == NETWORK:
            key = _at(key, address)
        else:
            self._forget(key)
            self._good.pop(key, None)
        self._refused[key] = _Refusal(self._clock.monotonic() + REFUSED_FOR_S, err.cause, err.tenant)
        while len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def _forget(self, key: bytes) -> None:
        entry = self._verified.pop(key, None)
        if entry is None:
            return
        self._key_of_token.pop(entry.caller.token_id, None)
        siblings = self._keys_of_tenant[entry.caller.tenant_id]
        siblings.discard(key)
        if not siblings:
            del self._keys_of_tenant[entry.caller.tenant_id]


def _at(key: bytes, address: str) -> bytes:
    """Return the key of a refusal that holds for one address."""
    return key + address.encode()
