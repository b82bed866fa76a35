"""Which tokens were used, and which refused: counted here, told to the control plane every few seconds.

What cannot be told is kept for the next time, up to a stated number of tokens; beyond it the oldest is dropped: reports
are for people who look after their tokens, the audit trail of what was done is written with the deed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import Unavailable, decode
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from protos.tenancy.v1 import tenancy_pb2 as tenancy
from scim_gateway.caller import Caller, Client

log = get_logger(__name__)

PERIOD_S = 10.0
# So many of each a call may carry (tenancy.proto).
MAX_IN_CALL = 1_000
MAX_USES, MAX_REFUSALS = 10_000, 5_000
# Nobody knows whether what is throttled was ever a token: an attacker's inventions get little room.
MAX_THROTTLED = 200
# What is told of refusals; an unknown key id is nobody's.
CAUSES = frozenset({"mismatch", "revoked", "expired", "tenant_deleted", "network", "scope", "throttled"})
THROTTLED = "throttled"
# At the end of the process: so long the last report may take.
LAST_S = 1.0


@dataclass(frozen=True, slots=True)
class Note:
    """How often something happened, when last, and by whom."""

    count: int
    at: datetime
    client: Client


UseKey = tuple[str, str]  # tenant id, token id
RefusalKey = tuple[str, str, str]  # key id, address, cause
K = TypeVar("K")
Send = Callable[[tenancy.ReportTokenUseRequest], Awaitable[None]]


class TokenReports:
    """Counts, and tells."""

    def __init__(self, send: Send, clock: Clock) -> None:
        """``send`` raises client errors when the report did not arrive."""
        self._send, self._clock = send, clock
        self._uses: OrderedDict[UseKey, Note] = OrderedDict()
        self._refusals: OrderedDict[RefusalKey, Note] = OrderedDict()
        self._throttled: OrderedDict[RefusalKey, Note] = OrderedDict()

    def used(self, caller: Caller, client: Client) -> None:
        """Count a request that a token was good for."""
        _add(self._uses, (caller.tenant_id, caller.token_id), Note(1, self._clock.now(), client), MAX_USES)

    def refused(self, key_id: str, client: Client, cause: str) -> None:
        """Count a request that was refused for its token, if the cause is one to tell."""
        if cause not in CAUSES:
            return
        notes, room = (self._throttled, MAX_THROTTLED) if cause == THROTTLED else (self._refusals, MAX_REFUSALS)
        _add(notes, (key_id, client.address, cause), Note(1, self._clock.now(), client), room)

    async def run(self) -> None:
        """Tell every PERIOD_S until cancelled; spread, so that gateways do not come all at once."""
        while True:
            await asyncio.sleep(PERIOD_S * (0.5 + self._clock.jitter()))
            await self.run_once()

    async def run_once(self) -> int:
        """Tell what was counted and return how many entries that were; what did not arrive is kept."""
        told = 0
        while self._uses or self._refusals or self._throttled:
            uses = _cut(self._uses)
            refusals = _cut(self._refusals) or _cut(self._throttled)
            try:
                await self._send(_message(uses, refusals))
            except (Unavailable, asyncio.CancelledError) as err:
                self._put_back(uses, refusals)
                if not isinstance(err, Unavailable):
                    raise
                log.warning("token report late", cause=type(err).__name__, code=err.code.name)
                break
            except Exception as err:
                # It would be refused the next time too.
                log.warning("token report lost", cause=type(err).__name__, count=len(uses) + len(refusals))
            else:
                told += len(uses) + len(refusals)
        return told

    async def finish(self) -> None:
        """Tell the last of it before the process ends, for LAST_S at most."""
        try:
            async with asyncio.timeout(LAST_S):
                await self.run_once()
        except TimeoutError:
            log.warning("token report lost", cause="TimeoutError", limit_s=LAST_S)

    def _put_back(self, uses: dict[UseKey, Note], refusals: dict[RefusalKey, Note]) -> None:
        for key, note in uses.items():
            _add(self._uses, key, note, MAX_USES)
        for each, note in refusals.items():
            notes, room = (self._throttled, MAX_THROTTLED) if each[2] == THROTTLED else (self._refusals, MAX_REFUSALS)
            _add(notes, each, note, room)


async def report_token_use(
    control_plane: ControlPlane, timeout_s: float, message: tenancy.ReportTokenUseRequest
) -> None:
    """Tell the control plane; client errors if it did not take the report."""
    try:
        await control_plane.tokens.ReportTokenUse(message, metadata=control_plane.metadata(), timeout=timeout_s)
    except grpc.aio.AioRpcError as err:
        raise decode(err) from err


def _add(notes: OrderedDict[K, Note], key: K, note: Note, room: int) -> None:
    """Add ``note`` to what is known under ``key``; the later one says by whom."""
    known = notes.pop(key, None)
    if known is not None:
        later = note if note.at >= known.at else known
        note = replace(later, count=known.count + note.count)
    notes[key] = note
    if len(notes) > room:
        notes.popitem(last=False)


def _cut(notes: OrderedDict[K, Note]) -> dict[K, Note]:
    """Take the first entries out, as many as a call may carry."""
    taken = dict(islice(notes.items(), MAX_IN_CALL))
    for key in taken:
        del notes[key]
    return taken


def _message(uses: dict[UseKey, Note], refusals: dict[RefusalKey, Note]) -> tenancy.ReportTokenUseRequest:
    return tenancy.ReportTokenUseRequest(uses=list(_uses(uses)), refusals=list(_refusals(refusals)))


def _uses(notes: dict[UseKey, Note]) -> Iterable[tenancy.TokenUse]:
    for (tenant_id, token_id), note in notes.items():
        yield tenancy.TokenUse(
            tenant_id=tenant_id,
            token_id=token_id,
            time=_timestamp(note.at),
            address=note.client.address,
            user_agent=note.client.agent,
            count=note.count,
        )


def _refusals(notes: dict[RefusalKey, Note]) -> Iterable[tenancy.TokenRefusal]:
    for (key_id, address, cause), note in notes.items():
        yield tenancy.TokenRefusal(
            key_id=key_id,
            time=_timestamp(note.at),
            address=address,
            user_agent=note.client.agent,
            cause=cause,
            count=note.count,
        )


def _timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp
