"""``python -m tests.bench.audit [--events N]``: time and memory of the verification of a million events.

The trail is real: hashes as the sealer makes them, written by COPY. Whoever verifies is a process of its own, so that
its peak of resident memory is its own too; once against the database, once against an export, without any server.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

from control_plane.domain.audit import Actor, ActorType, AuditEvent
from control_plane.domain.audit_chain import canonical, content_of, genesis, link_hash
from control_plane.domain.audit_forms import Form
from control_plane.domain.audit_offline import OfflineCheck
from control_plane.domain.ids import EventId, ResourceId, TenantId, uuid7
from control_plane.metrics import Metrics
from control_plane.runtime.clock import SystemClock
from control_plane.services.audit_checkpoints import AuditCheckpoints
from control_plane.services.audit_verify import AuditVerifier
from control_plane.storage import audit_chain
from control_plane.storage.engine import Storage
from control_plane.storage.migrate import migrate
from tests.bench.errors import BenchError
from tests.fixtures.postgres import PostgresServer, make_server

EVENTS = 1_000_000
LIMIT_S, LIMIT_MB = 60, 300
TENANT = TenantId(UUID("0192f0c1-2345-7abc-8def-0123456789ab"))
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 2_000
COPY_EVENTS = """
    COPY audit_events (id, tenant_id, at, actor_type, actor_id, actor_address, actor_agent, action, resource_type,
                       resource_id, outcome, reason, request_id, trace_id, details, subject_id, personal, commitment)
    FROM STDIN
"""
COPY_LINKS = "COPY audit_chain (tenant_id, seq, event_id, hash) FROM STDIN"


@dataclass(frozen=True, slots=True)
class Verification:
    """How long a process took to verify a trail, from its start to its end, and the most memory that it had."""

    name: str
    events: int
    seconds: float
    peak_mb: float

    @property
    def is_good(self) -> bool:
        """Whether it stayed below both limits."""
        return self.seconds < LIMIT_S and self.peak_mb < LIMIT_MB


def main() -> int:
    """Seed, verify twice in processes of their own, print the figures; 1 if a limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.audit")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--online", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--offline", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.online:
        return asyncio.run(_online(options.online))
    if options.offline:
        return _offline(Path(options.offline))
    found = measured(options.events)
    for one in found:
        verdict = "pass" if one.is_good else "FAIL"
        print(f"{one.name}: {one.events:,} events in {one.seconds:.1f} s, peak RSS {one.peak_mb:.0f} MB: {verdict}")
    return 0 if all(one.is_good for one in found) else 1


def measured(count: int) -> list[Verification]:
    """Return what the verification of ``count`` events takes: in the database, and in an export without any server."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-audit-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = make_server(folder)
        try:
            return _run(server, folder, count)
        finally:
            server.stop()


def _run(server: PostgresServer, folder: Path, count: int) -> list[Verification]:
    server.execute("CREATE DATABASE audit_bench OWNER muster_owner")
    database = server.database("audit_bench")
    migrate(database.owner_url, None)
    _seed(database.superuser_url, count)
    online = _measured("online verification", ["--online", database.app_url])
    export = folder / "export.jsonl"
    asyncio.run(_export(database.app_url, export))
    return [online, _measured("offline verification", ["--offline", str(export)])]


def _measured(name: str, options: list[str]) -> Verification:
    """Run a verification in a new process and return what it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.bench.audit", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{name}: {done.stderr[-2000:]}")
    seconds, (verified, peak_kb) = time.monotonic() - began, done.stdout.split()[-2:]
    return Verification(name, int(verified), seconds, int(peak_kb) / 1000)


async def _online(url: str) -> int:
    storage = await Storage.open(url, pool_size=2, timeout_s=30)
    clock, metrics = SystemClock(), Metrics()
    verifier = AuditVerifier(storage, AuditCheckpoints(storage, None, metrics, clock), metrics, clock)
    async for step in verifier.verify(TENANT):
        last = step
    await storage.close()
    return _told(last.verified, len(last.problems))


def _offline(path: Path) -> int:
    check = OfflineCheck({})
    with path.open("rb") as file:
        check.begin(file.readline())
        check.feed(file)
    verdict = check.finish()
    return _told(verdict.verified, len(verdict.problems))


def _told(verified: int, problems: int) -> int:
    # Not ru_maxrss: it begins with what the process had that started this one.
    status = Path("/proc/self/status").read_text()
    print(verified, next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return 1 if problems else 0


async def _export(url: str, path: Path) -> None:
    """Write the export by the product's own pages and lines."""
    from control_plane.domain import audit_forms as forms

    storage = await Storage.open(url, pool_size=1, timeout_s=30)
    async with storage.begin(TENANT, read_only=True) as tx:
        head = await audit_chain.head(tx)
    assert head is not None
    with path.open("wb") as file:
        file.write(forms.jsonl_first(forms.Stretch(TENANT, 1, head.first_hash, head.seq, True, True)))
        seq = 0
        while seq < head.seq:
            async with storage.begin(TENANT, read_only=True) as tx:
                links = await audit_chain.links(tx, seq, PAGE)
            seq = links[-1].seq
            file.writelines(forms.render(Form.JSONL, TENANT, (forms.Row(link) for link in links)))
        file.write(forms.jsonl_last(None, seq, head.hash))
    await storage.close()


def _seed(url: str, count: int) -> None:
    previous = genesis(TENANT)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO tenants (id, display_name, created_at) VALUES (%s, 'Acme', now())", (TENANT,))
        connection.execute("CREATE TEMP TABLE links (seq bigint, event_id uuid, hash bytea)")
        hashes = []
        with connection.cursor().copy(COPY_EVENTS) as copy:
            for seq, event in enumerate(_events(count), 1):
                content = content_of(event)
                previous = link_hash(previous, canonical(seq, content))
                hashes.append((event.id, previous))
                copy.write_row((event.id, TENANT, event.at, content.actor_type, content.actor_id, content.actor_address,
                                content.actor_agent, content.action, content.resource_type, content.resource_id,
                                content.outcome, content.reason, content.request_id, content.trace_id, content.details,
                                event.subject, content.personal, content.commitment))  # fmt: skip
        with connection.cursor().copy(COPY_LINKS) as copy:
            for seq, (event_id, digest) in enumerate(hashes, 1):
                copy.write_row((TENANT, seq, event_id, digest))
        connection.execute(
            "INSERT INTO audit_heads VALUES (%s, %s, %s, 1, %s)", (TENANT, count, previous, genesis(TENANT))
        )
        connection.commit()


def _events(count: int) -> Iterator[AuditEvent]:
    """Yield events as a push of users makes them, a millisecond apart."""
    for number in range(count):
        at = START + timedelta(milliseconds=number)
        user = ResourceId(uuid7(int(at.timestamp() * 1000), number.to_bytes(10, "big")))
        yield AuditEvent(
            id=EventId(uuid7(int(at.timestamp() * 1000), (number * 7919 % 2**70).to_bytes(10, "big"))),
            tenant=TENANT,
            at=at,
            actor=Actor(ActorType.TOKEN, "k3y1dk3y1d12", "192.0.2.17", "Okta SCIM Client 1.0.0"),
            action="user.patch",
            resource_type="user",
            resource_id=str(user),
            request_id=f"{number:032x}",
            details={"attributes": ["active", "emails", "name.familyName", "userName"], "version": number % 9},
            trace_id=f"{number:032x}",
            subject=user,
            personal=bytes(180),
            commitment=number.to_bytes(32, "big"),
        )


if __name__ == "__main__":
    sys.exit(main())
