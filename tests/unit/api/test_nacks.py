"""What the control plane makes of a lease that a worker gives up."""

import pytest

from control_plane.api import leases
from protos.lease.v1 import lease_pb2 as pb


@pytest.mark.parametrize(("asked_s", "wait_s"), [(-315_576_000_000, 0), (0, 0), (90, 90), (315_576_000_000, 3600)])
def test_no_worker_puts_a_resource_off_for_more_than_an_hour(asked_s: int, wait_s: float) -> None:
    nack = pb.Nack(fence=1)
    nack.retry_after.seconds = asked_s
    [told] = leases._turn(pb.Turn(nack=[nack])).nacks
    assert told.retry_after_s == wait_s
