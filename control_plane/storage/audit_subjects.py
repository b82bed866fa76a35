"""The keys that the trail seals persons' values with, one for each person, themselves sealed with the tenant's key.

A key that was destroyed leaves its row behind, so that no other one takes its place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from control_plane.domain.ids import ResourceId, TenantId
from control_plane.storage.engine import Tx

READ: LiteralString = """
    SELECT s.tenant_id, s.subject_id, s.key_sealed
    FROM unnest(%(tenants)b::uuid[], %(subjects)b::uuid[]) AS k (tenant_id, subject_id)
    JOIN audit_subjects s USING (subject_id, tenant_id)
"""
# Of two who make one at once, the first wins, and both get hers.
ENSURE: LiteralString = """
    INSERT INTO audit_subjects AS s (tenant_id, subject_id, key_sealed, created_at)
    SELECT %(tenant)b::uuid, k.subject_id, k.key_sealed, %(at)b::timestamptz
    FROM unnest(%(subjects)b::uuid[], %(keys)b::bytea[]) AS k (subject_id, key_sealed)
    ORDER BY 2
    ON CONFLICT (subject_id, tenant_id) DO UPDATE SET key_sealed = s.key_sealed
    RETURNING s.subject_id, s.key_sealed
"""
ERASE: LiteralString = """
    INSERT INTO audit_subjects AS s (tenant_id, subject_id, key_sealed, created_at, erased_at)
    VALUES (%(tenant)b::uuid, %(subject)b::uuid, NULL, %(at)b::timestamptz, %(at)b::timestamptz)
    ON CONFLICT (subject_id, tenant_id)
    DO UPDATE SET key_sealed = NULL, erased_at = coalesce(s.erased_at, excluded.erased_at)
"""
# By the resource's id: events of a person are events of the user that the person is, and that column has the index.
TRACES: LiteralString = """
    SELECT (SELECT count(*) FROM audit_events
            WHERE resource_id = %(text)b::text AND tenant_id = %(tenant)b::uuid
              AND subject_id = %(subject)b::uuid AND personal IS NOT NULL),
           EXISTS (SELECT FROM audit_subjects WHERE subject_id = %(subject)b::uuid AND tenant_id = %(tenant)b::uuid),
           count(*) FILTER (WHERE desired_version <= applied_version),
           count(*) FILTER (WHERE desired_version > applied_version)
    FROM provisioning WHERE resource_id = %(subject)b::uuid AND tenant_id = %(tenant)b::uuid
"""
FORGET_NAMES: LiteralString = """
    WITH held AS MATERIALIZED (
        SELECT target_id FROM provisioning
        WHERE resource_id = %(subject)b::uuid AND tenant_id = %(tenant)b::uuid AND deleted
          AND desired_version <= applied_version
        ORDER BY target_id FOR UPDATE
    )
    UPDATE provisioning p
    SET former_name = NULL, former_name_key = NULL, former_external_id = NULL, last_error = NULL
    FROM held h
    WHERE p.resource_id = %(subject)b::uuid AND p.target_id = h.target_id AND p.tenant_id = %(tenant)b::uuid
"""

Subject = tuple[TenantId, ResourceId]
# Of one tenant: None is a key that was destroyed; who has none yet is missing.
SealedKeys = Mapping[ResourceId, bytes | None]


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of a person who was deleted: events with personal values, a key, marks in targets."""

    events: int
    is_known: bool
    settled_targets: int
    unsettled_targets: int

    @property
    def are_any(self) -> bool:
        """Whether there ever was such a person."""
        return bool(self.events or self.is_known or self.settled_targets or self.unsettled_targets)


async def read(tx: Tx, subjects: Iterable[Subject]) -> dict[Subject, bytes | None]:
    """Return the sealed key of each; None if it was destroyed. Who has none yet is missing."""
    pairs = list(subjects)
    if not pairs:
        return {}
    params = {"tenants": [tenant for tenant, _ in pairs], "subjects": [subject for _, subject in pairs]}
    return {(TenantId(row[0]), ResourceId(row[1])): row[2] for row in await tx.fetch(READ, params)}


async def ensure(tx: Tx, keys: Sequence[tuple[ResourceId, bytes]], at: datetime) -> dict[ResourceId, bytes | None]:
    """Store sealed keys of who has none, and return the key of each as it then is."""
    params = {
        "tenant": tx.tenant,
        "subjects": [subject for subject, _ in keys],
        "keys": [key for _, key in keys],
        "at": at,
    }
    return {ResourceId(row[0]): row[1] for row in await tx.fetch(ENSURE, params)}


async def traces(tx: Tx, subject: ResourceId) -> Traces:
    """Return what there is of a person."""
    params = {"tenant": tx.tenant, "subject": subject, "text": str(subject)}
    return Traces(*(await tx.fetch(TRACES, params))[0])


async def erase(tx: Tx, subject: ResourceId, at: datetime) -> None:
    """Destroy the key, or see to it that there never is one; and forget former names where a target is done."""
    await tx.fetch(ERASE, {"tenant": tx.tenant, "subject": subject, "at": at})
    await tx.fetch(FORGET_NAMES, {"tenant": tx.tenant, "subject": subject})
