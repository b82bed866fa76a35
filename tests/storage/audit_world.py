"""A trail with a seal on it, and a superuser who tampers with it."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.audit_chain import Link
from control_plane.domain.audit_check import Problem, ProblemKind
from control_plane.domain.checkpoints import SigningKey
from control_plane.domain.ids import EventId, TenantId, uuid7
from control_plane.metrics import Metrics
from control_plane.services.audit_checkpoints import AuditCheckpoints, Checkpointing
from control_plane.services.audit_expiry import AuditExpiry
from control_plane.services.audit_sealer import AuditSealer
from control_plane.services.audit_verify import AuditVerifier, Progress
from control_plane.services.caller import Caller
from control_plane.storage import audit, audit_chain
from control_plane.storage.checkpoint_file import CheckpointFile
from control_plane.storage.engine import Storage
from tests.fakes.clock import FakeClock
from tests.fixtures.postgres import Database
from tests.storage.world import connected, make_tenant

KEY = SigningKey(b"s" * 32)
_seeds = itertools.count(1)
AUDITOR = Caller(Actor(ActorType.OPERATOR, "olga"))


def event(tenant: TenantId, at: datetime, number: int = 0, **changes: Any) -> AuditEvent:
    """Return an event to be stored."""
    values: dict[str, Any] = {
        "id": EventId(uuid7(int(at.timestamp() * 1000), os.urandom(10))), "tenant": tenant, "at": at,
        "actor": Actor(ActorType.TOKEN, "key1", "192.0.2.7", "Okta/1.0"), "action": "user.create",
        "resource_type": "user", "resource_id": f"user-{number}", "details": {"attributes": ["userName"], "n": number},
    }  # fmt: skip
    return AuditEvent(**{**values, **changes})


@dataclass
class AuditWorld:
    """One tenant's trail, and everything that looks after it."""

    storage: Storage
    database: Database
    tenant: TenantId
    folder: Path
    # Worlds share a database: no two may throw the same ids.
    clock: FakeClock = field(default_factory=lambda: FakeClock(seed=next(_seeds)))
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.sealer = AuditSealer(self.storage, self.metrics, self.clock)
        self.checkpoints = self.restarted_checkpoints()

    @property
    def file(self) -> Path:
        """The checkpoint file."""
        return self.folder / "checkpoints.jsonl"

    def restarted_checkpoints(self, key: SigningKey = KEY) -> AuditCheckpoints:
        """Return checkpoints as another process would have them."""
        chosen = Checkpointing(key, CheckpointFile(self.folder), 3600)
        return AuditCheckpoints(self.storage, chosen, self.metrics, self.clock)

    @property
    def expiry(self) -> AuditExpiry:
        """The duty that lets events expire."""
        return AuditExpiry(self.storage, self.checkpoints, self.clock)

    async def write(self, count: int, *, seal: bool = True, **changes: Any) -> list[AuditEvent]:
        """Store ``count`` events a second apart, and seal them."""
        events = []
        for number in range(count):
            events.append(event(self.tenant, self.clock.now(), number, **changes))
            self.clock.advance(1)
        async with self.storage.begin(self.tenant) as tx:
            await audit.append(tx, events)
        if seal:
            await self.sealer.run_once()
        return events

    async def verify(self, checkpoints: AuditCheckpoints | None = None) -> Progress:
        """Return the verdict."""
        verifier = AuditVerifier(self.storage, checkpoints or self.checkpoints, self.metrics, self.clock)
        found = [step async for step in verifier.verify(self.tenant)]
        assert [step.is_done for step in found] == [False] * (len(found) - 1) + [True]
        return found[-1]

    async def problems(self, checkpoints: AuditCheckpoints | None = None) -> list[Problem]:
        """Return what a verification finds."""
        return list((await self.verify(checkpoints)).problems)

    async def found(self, checkpoints: AuditCheckpoints | None = None) -> list[tuple[ProblemKind, int]]:
        """Return kind and place of what a verification finds."""
        return [(one.kind, one.seq) for one in await self.problems(checkpoints)]

    async def links(self) -> list[Link]:
        """Return the whole chain, up to 1,000 links."""
        async with self.storage.begin(self.tenant) as tx:
            return await audit_chain.links(tx, 0, 1000)

    async def tamper(self, *statements: LiteralString, **values: Any) -> None:
        """Run statements as the database's superuser, with every trigger off."""
        async with self.tampering() as connection:
            for statement in statements:
                await connection.execute(statement, {"tenant": self.tenant, **values})

    @asynccontextmanager
    async def tampering(self) -> AsyncIterator[Any]:
        """Connect as a superuser for whom no trigger fires."""
        async with connected(self.database.superuser_url) as connection:
            await connection.execute("SET session_replication_role = replica")
            yield connection

    async def read(self, statement: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        """Return rows as a superuser sees them."""
        async with connected(self.database.superuser_url) as connection:
            cursor = await connection.execute(statement, {"tenant": self.tenant, **values})
            return await cursor.fetchall()


async def make_audit_world(storage: Storage, database: Database, folder: Path) -> AuditWorld:
    """Return the trail of a new tenant."""
    return AuditWorld(storage, database, await make_tenant(storage), folder)
