"""Reads tokens by their key ids: those that are asked for while others are read go together, in one transaction.

So bogus tokens, of which each costs a look-up, cost the less the more of them come.
"""

import asyncio
from collections.abc import Mapping

from control_plane.domain.errors import MusterError
from control_plane.domain.tenants import Tenant
from control_plane.domain.tokens import Token
from control_plane.storage import tokens
from control_plane.storage.engine import Storage

# Transactions at a time. Whoever comes later is read by the next one, which begins after he came.
AT_ONCE = 2

Row = tuple[Token, Tenant]


class _Batch:
    """Key ids that are read together, and what came of it."""

    def __init__(self) -> None:
        self.key_ids: set[str] = set()
        self.outcome: asyncio.Future[Mapping[str, Row] | MusterError] = asyncio.get_running_loop().create_future()


class TokenRows:
    """Reads each row anew at each question."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._gathering: _Batch | None = None

    async def find(self, key_id: str) -> Row | None:
        """Return the token of any tenant, with its tenant; None if nobody has this key id."""
        while True:
            batch = self._gathering
            if batch is None:
                return await self._lead(key_id)
            batch.key_ids.add(key_id)
            await asyncio.wait([batch.outcome])
            if batch.outcome.cancelled():
                continue  # its leader was cancelled: somebody else has to lead
            outcome = batch.outcome.result()
            if isinstance(outcome, MusterError):
                raise outcome
            return outcome.get(key_id)

    async def _lead(self, key_id: str) -> Row | None:
        """Read what gathers until it is our turn."""
        batch = self._gathering = _Batch()
        batch.key_ids.add(key_id)
        try:
            async with self._turns:
                self._gathering = None
                found = await self._read(sorted(batch.key_ids))
            batch.outcome.set_result(found)
        except MusterError as err:
            batch.outcome.set_result(err)
            raise
        finally:
            if self._gathering is batch:
                self._gathering = None
            if not batch.outcome.done():
                batch.outcome.cancel()
        return found.get(key_id)

    async def _read(self, key_ids: list[str]) -> Mapping[str, Row]:
        async with self._storage.begin_batch((), token_key=tokens.KEY_ID_SEPARATOR.join(key_ids)) as tx:
            return await tokens.find_by_key_ids(tx, key_ids)
