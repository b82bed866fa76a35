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
from datetime import datetime

from control_plane.client.errors import TokenRefused
from control_plane.runtime.clock import Clock
from scim_gateway.errors import AuthenticationFailed
from scim_gateway.metrics import GatewayMetrics

# How long an answer counts when no watch stream vouches for it: a revocation works within this time.
REVALIDATE_S = 1.0
# The control plane sends a heartbeat each second: three missing ones mean that the stream is dead.
SILENCE_S = 3.0
# Another control plane may answer from memory that it has not dropped yet: after a revocation trust nothing for long.
SETTLE_S = 15.0
REFUSED_FOR_S = 10.0
MAX_REFUSED = 10_000
MAX_DROPS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who stands behind a bearer token, as the control plane said."""

    tenant_id: str
    token_id: str
    key_id: str
    scopes: frozenset[int]
    expires_at: datetime | None


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
Ask = Callable[[str], Awaitable[Caller]]


class TokenVerifier:
    """Answers from memory where it may, else asks the control plane, once per token at a time."""

    def __init__(self, ask: Ask, clock: Clock, metrics: GatewayMetrics, capacity: int) -> None:
        """``ask`` raises client.errors.TokenRefused for a bad token, other client errors when there is no answer."""
        self._ask, self._clock, self._metrics, self._capacity = ask, clock, metrics, capacity
        self._process_key = clock.random_bytes(32)
        self._verified: OrderedDict[bytes, _Entry] = OrderedDict()
        self._key_of_token: dict[str, bytes] = {}
        self._refused: OrderedDict[bytes, _Refusal] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[Outcome]] = {}
        self._drops: dict[str, float] = {}
        self._reset_at: float | None = None
        self._alive_at: float | None = None

    async def verify(self, presented: str) -> Caller:
        """Return who presents this token; AuthenticationFailed if nobody, client errors if that cannot be learnt."""
        key = hmac.digest(self._process_key, presented.encode(), "sha256")
        while True:
            if (caller := self._from_memory(key)) is not None:
                self._metrics.cache_hits.inc()
                return caller
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key, presented)
            await asyncio.wait([flight])
            if flight.cancelled():
                continue  # its leader was cancelled: somebody else has to ask
            outcome = flight.result()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    @property
    def is_watched(self) -> bool:
        """Whether the watch stream is connected and was heard of lately."""
        return self._alive_at is not None and self._clock.monotonic() - self._alive_at <= SILENCE_S

    def on_reset(self) -> None:
        """Forget everything: revocations may have been missed. The stream is alive from here on."""
        self._verified.clear()
        self._key_of_token.clear()
        self._refused.clear()
        self._drops.clear()
        self._reset_at = self._clock.monotonic()
        self.on_heartbeat()

    def on_dropped(self, token_id: str) -> None:
        """Forget one token, also what is being asked about it just now."""
        self.on_heartbeat()
        if (key := self._key_of_token.pop(token_id, None)) is not None:
            self._verified.pop(key, None)
        if len(self._drops) >= MAX_DROPS:
            # More than can be remembered one by one: nothing asked before now is firm.
            self._drops.clear()
            self._reset_at = self._clock.monotonic()
        self._drops[token_id] = self._clock.monotonic()

    def on_heartbeat(self) -> None:
        """The stream is alive."""
        self._alive_at = self._clock.monotonic()
        self._metrics.watch_connected.set(1)

    def on_cut(self) -> None:
        """The stream is gone: what is known counts for a moment only."""
        self._alive_at = None
        self._metrics.watch_connected.set(0)

    def _from_memory(self, key: bytes) -> Caller | None:
        """Return the caller if known and still good; AuthenticationFailed if known to be refused; None: ask."""
        now = self._clock.monotonic()
        if (refusal := self._refused.get(key)) is not None:
            if now < refusal.until:
                self._metrics.cache_hits.inc()
                raise AuthenticationFailed(refusal.reason, refusal.tenant)
            del self._refused[key]
        entry = self._verified.get(key)
        if entry is None:
            return None
        expires_at = entry.caller.expires_at
        is_expired = expires_at is not None and expires_at <= self._clock.now()
        is_covered = entry.is_firm and self.is_watched
        if is_expired or not (is_covered or now - entry.asked_at <= REVALIDATE_S):
            self._forget(key)
            return None
        self._verified.move_to_end(key)
        return entry.caller

    async def _lead(self, key: bytes, presented: str) -> Caller:
        """Ask the control plane; those who come with the same token meanwhile wait for this answer."""
        flight: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        self._metrics.cache_misses.inc()
        try:
            outcome = await self._learn(key, presented)
            flight.set_result(outcome)
        finally:
            del self._flights[key]
            if not flight.done():
                flight.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _learn(self, key: bytes, presented: str) -> Outcome:
        asked_at = self._clock.monotonic()
        try:
            caller = await self._ask(presented)
        except TokenRefused as err:
            self._remember_refusal(key, err)
            return AuthenticationFailed(err.cause, err.tenant)
        except Exception as err:
            # Handed to all who wait; raised, and logged, where each request ends.
            return err
        self._remember(key, _Entry(caller, asked_at, self._is_firm(caller.token_id, asked_at)))
        return caller

    def _is_firm(self, token_id: str, asked_at: float) -> bool:
        if self._reset_at is None or asked_at < self._reset_at:
            return False
        dropped_at = self._drops.get(token_id)
        return dropped_at is None or asked_at > dropped_at + SETTLE_S

    def _remember(self, key: bytes, entry: _Entry) -> None:
        self._verified[key] = entry
        self._verified.move_to_end(key)
        self._key_of_token[entry.caller.token_id] = key
        while len(self._verified) > self._capacity:
            self._forget(next(iter(self._verified)))

    def _remember_refusal(self, key: bytes, err: TokenRefused) -> None:
        self._forget(key)
        self._refused[key] = _Refusal(self._clock.monotonic() + REFUSED_FOR_S, err.cause, err.tenant)
        while len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def _forget(self, key: bytes) -> None:
        if (entry := self._verified.pop(key, None)) is not None:
            self._key_of_token.pop(entry.caller.token_id, None)
