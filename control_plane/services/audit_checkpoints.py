"""Makes checkpoints: signs the heads of all chains, and writes that down outside the database.

The file is written before the rows: what the database says of a checkpoint can be proved by the file, and a crash in
between only leaves rows that the next checkpoint stores. The file's lock, not the database's, decides who writes: who
comes second finds that nothing is due.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from control_plane.domain.audit_chain import time_text
from control_plane.domain.checkpoints import ChainHead, Replay, Signed, SigningKey, VerifyKey, make
from control_plane.domain.errors import FailedPrecondition, MusterError, Unavailable
from control_plane.domain.ids import SYSTEM_TENANT, TenantId
from control_plane.metrics import Metrics
from control_plane.runtime.clock import Clock
from control_plane.runtime.logs import get_logger
from control_plane.runtime.settings import SettingsError
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.storage import audit, audit_chain, audit_checkpoints
from control_plane.storage.audit_checkpoints import CheckpointRow
from control_plane.storage.checkpoint_file import CheckpointFile
from control_plane.storage.engine import Storage

log = get_logger(__name__)

TENANTS_AT_ONCE = 500
MAX_CHECK_S = 60.0
NOT_CONFIGURED = "checkpoints are not configured: set MUSTER_AUDIT_SIGNING_KEY and MUSTER_AUDIT_CHECKPOINT_DIR"


@dataclass(frozen=True, slots=True)
class Checkpointing:
    """With what checkpoints are signed, where they are written, and how often."""

    key: SigningKey = field(repr=False)
    file: CheckpointFile
    interval_s: float


def checkpointing(signing_key: str, folder: str, interval_s: float) -> Checkpointing | None:
    """Return what the settings say, None if there are to be no checkpoints; SettingsError if they say half of it."""
    if not signing_key and not folder:
        log.warning("no audit checkpoints: whoever can write to the database can rewrite the whole trail unnoticed")
        return None
    if not signing_key or not folder:
        raise SettingsError("set both MUSTER_AUDIT_SIGNING_KEY and MUSTER_AUDIT_CHECKPOINT_DIR, or neither")
    if interval_s <= 0:
        raise SettingsError("MUSTER_AUDIT_CHECKPOINT_INTERVAL_S must be above 0")
    try:
        key = SigningKey(base64.b64decode(signing_key, validate=True))
    except (binascii.Error, ValueError) as err:
        raise SettingsError("MUSTER_AUDIT_SIGNING_KEY must be the base64 of 32 bytes") from err
    file = CheckpointFile(Path(folder))
    try:
        file.prepare()
    except OSError as err:
        raise SettingsError(f"MUSTER_AUDIT_CHECKPOINT_DIR: {folder} cannot be written: {err.strerror}") from err
    return Checkpointing(key, file, interval_s)


class AuditCheckpoints:
    """The duty, and the use cases around it."""

    def __init__(self, storage: Storage, chosen: Checkpointing | None, metrics: Metrics, clock: Clock) -> None:
        self._storage, self._chosen, self._metrics, self._clock = storage, chosen, metrics, clock
        self._scribe = Scribe(clock)
        # In the file already, not in the database yet.
        self._owed: list[CheckpointRow] = []
        self._making = asyncio.Lock()

    @property
    def file(self) -> CheckpointFile | None:
        """The file, if there are to be checkpoints."""
        return None if self._chosen is None else self._chosen.file

    @property
    def keys(self) -> dict[str, VerifyKey]:
        """The keys that checkpoints are verified with, by id."""
        return {} if self._chosen is None else {self._chosen.key.public.id: self._chosen.key.public}

    def public_key(self) -> VerifyKey:
        """Return the public key; FailedPrecondition if checkpoints are not configured."""
        return self._settled().key.public

    async def run(self) -> None:
        """Make a checkpoint whenever one is due, until cancelled; without configuration only wait."""
        wait_s = MAX_CHECK_S if self._chosen is None else min(MAX_CHECK_S, self._chosen.interval_s)
        while True:
            try:
                await self.run_once()
            except (MusterError, OSError) as err:
                self._metrics.audit_checkpoint_failures.inc()
                log.error("no audit checkpoint could be made", error=str(err))
            await asyncio.sleep(wait_s)

    async def run_once(self) -> Signed | None:
        """Make a checkpoint if one is due; return it."""
        return None if self._chosen is None else await self._make(is_asked=False)

    async def create(self, caller: Caller) -> Signed:
        """Make a checkpoint now; FailedPrecondition if checkpoints are not configured."""
        self._settled()
        try:
            made = await self._make(is_asked=True)
        except OSError as err:
            self._metrics.audit_checkpoint_failures.inc()
            log.error("no audit checkpoint could be made", error=str(err))
            raise Unavailable("the checkpoint file") from err
        assert made is not None
        deed = Deed("audit.checkpoint", "audit", str(made.statement.number), {"root": made.statement.root.hex()})
        async with self._storage.begin(SYSTEM_TENANT) as tx:
            await audit.append(tx, [self._scribe.event(SYSTEM_TENANT, caller, deed)])
        return made

    async def covered(self) -> Mapping[TenantId, int] | None:
        """Return up to which seq the newest checkpoint covers each chain; None if checkpoints are not configured."""
        if self._chosen is None:
            return None
        return await asyncio.to_thread(_covered, self._chosen.file)

    async def _make(self, *, is_asked: bool) -> Signed | None:
        # The thread that holds the file's lock would wait for itself.
        async with self._making:
            heads, number = await self._heads()
            made = await asyncio.to_thread(self._write, heads, number, self._clock.now(), is_asked=is_asked)
            await self._store()
            return made

    async def _heads(self) -> tuple[dict[TenantId, ChainHead | None], int]:
        """Return every tenant with its head, and the highest number that the database knows."""
        async with self._storage.begin_keeper(()) as tx:
            tenants = [SYSTEM_TENANT, *(tenant for tenant, _ in await audit_checkpoints.retentions(tx))]
        found: dict[TenantId, ChainHead | None] = dict.fromkeys(tenants)
        number = 0
        for start in range(0, len(tenants), TENANTS_AT_ONCE):
            some = tenants[start : start + TENANTS_AT_ONCE]
            async with self._storage.begin_keeper(some) as tx:
                heads = await audit_chain.heads(tx, some)
                number = max(number, await audit_checkpoints.last_number(tx, some))
            found |= {tenant: ChainHead(tenant, head.seq, head.hash) for tenant, head in heads.items()}
        return found, number

    def _write(
        self, heads: Mapping[TenantId, ChainHead | None], number: int, now: datetime, *, is_asked: bool
    ) -> Signed | None:
        chosen = self._settled()
        with chosen.file.locked() as appender:
            replay = appender.replay
            if appender.is_news and replay.last is not None:
                # Whoever wrote it may have ended before its rows were stored.
                self._owed += rows_of(replay, replay.last)
            if not is_asked and _is_fresh(replay, now, chosen.interval_s):
                return None  # made by this control plane or by another
            number = max(replay.next_number, number + 1)
            signed = make(replay, _newest(heads, replay), number, time_text(now), chosen.key)
            appender.append(signed.line())
            self._owed += rows_of(replay, signed)
        self._metrics.audit_checkpoint_at.set(now.timestamp())
        log.info("audit checkpoint", number=number, heads=signed.statement.heads, changed=len(signed.changed))
        return signed

    async def _store(self) -> None:
        while self._owed:
            some = self._owed[:TENANTS_AT_ONCE]
            tenants = {row.head.tenant for row in some}
            async with self._storage.begin_keeper(tenants) as tx:
                there = await audit_chain.existing(tx, tenants) | {SYSTEM_TENANT}
                await audit_checkpoints.add(tx, [row for row in some if row.head.tenant in there])
            self._owed = self._owed[len(some) :]

    def _settled(self) -> Checkpointing:
        if self._chosen is None:
            raise FailedPrecondition(NOT_CONFIGURED)
        return self._chosen


def rows_of(replay: Replay, signed: Signed) -> list[CheckpointRow]:
    """Return what the last checkpoint of ``replay`` says of each chain that had grown."""
    if not signed.changed:
        return []
    tree, places = replay.tree(), {head.tenant: index for index, head in enumerate(replay.ordered())}
    return [
        CheckpointRow(
            head, places[head.tenant], tuple(tree.proof(places[head.tenant])), signed.statement, signed.signature
        )
        for head in signed.changed
    ]


def _newest(heads: Mapping[TenantId, ChainHead | None], replay: Replay) -> dict[TenantId, ChainHead]:
    """Return what is to be signed: never less than what was signed, also where somebody took a head or a tail away."""
    found = {}
    for tenant, head in heads.items():
        signed = replay.heads.get(tenant)
        newest = signed if head is None or (signed is not None and signed.seq > head.seq) else head
        if newest is not None:
            found[tenant] = newest
    return found


def _is_fresh(replay: Replay, now: datetime, interval_s: float) -> bool:
    if replay.last is None:
        return False
    return now - datetime.fromisoformat(replay.last.statement.time) < timedelta(seconds=interval_s)


def _covered(file: CheckpointFile) -> dict[TenantId, int]:
    with file.locked() as appender:
        return {tenant: head.seq for tenant, head in appender.replay.heads.items()}
