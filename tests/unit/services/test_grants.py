"""Grants of leases: good for one worker and one lease, known to every control plane with the same keys."""

from uuid import UUID

import pytest

from control_plane.domain.errors import LeaseLost
from control_plane.domain.ids import ResourceId, TargetId, TenantId
from control_plane.domain.jobs import Fence, JobKey
from control_plane.services.grants import Grants

KEY = JobKey(TenantId(UUID(int=1)), TargetId(UUID(int=2)), ResourceId(UUID(int=3)))
OTHER_KEY = JobKey(TenantId(UUID(int=1)), TargetId(UUID(int=9)), ResourceId(UUID(int=3)))
FENCE = Fence(4, 5)


def test_another_control_plane_with_the_same_key_knows_the_grant() -> None:
    grant = Grants(b"k" * 32).issue("worker", "w1", KEY, FENCE)
    Grants(b"k" * 32).check(grant, "worker", "w1", KEY, FENCE)
    Grants(b"n" * 32, b"k" * 32).check(grant, "worker", "w1", KEY, FENCE)
    with pytest.raises(LeaseLost):
        Grants(b"n" * 32).check(grant, "worker", "w1", KEY, FENCE)


@pytest.mark.parametrize(
    ("identity", "worker", "key", "fence"),
    [
        ("worker/2", "w1", KEY, FENCE),
        ("worker", "w2", KEY, FENCE),
        ("worker", "w1", OTHER_KEY, FENCE),
        ("worker", "w1", KEY, Fence(5, 5)),
        ("worker", "w1", KEY, Fence(4, 6)),
        # The same letters, cut elsewhere.
        ("workerw", "1", KEY, FENCE),
    ],
)
def test_a_grant_is_good_for_nothing_else(identity: str, worker: str, key: JobKey, fence: Fence) -> None:
    grants = Grants(b"k" * 32)
    grant = grants.issue("worker", "w1", KEY, FENCE)
    with pytest.raises(LeaseLost):
        grants.check(grant, identity, worker, key, fence)
    with pytest.raises(LeaseLost):
        grants.check(b"", "worker", "w1", KEY, FENCE)
