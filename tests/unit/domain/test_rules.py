"""Ids, keys, fences, back-off, sealed secrets."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import NotFound
from control_plane.domain.ids import ResourceId, TargetId, TenantId, parse_id, uuid7
from control_plane.domain.jobs import BACK_OFF, BackOff, Failure, Fence, JobKey


@given(st.integers(0, 2**48 - 2), st.binary(min_size=10, max_size=10))
def test_uuid7_is_ordered_by_time(ms: int, random: bytes) -> None:
    earlier, later = uuid7(ms, b"\xff" * 10), uuid7(ms + 1, random)
    assert earlier < later
    assert (later.version, later.variant) == (7, "specified in RFC 4122")


def test_an_id_that_is_no_uuid_is_not_found() -> None:
    with pytest.raises(NotFound):
        parse_id("42", "user")


@given(st.uuids(), st.uuids(), st.uuids())
def test_a_job_key_round_trips(tenant: UUID, target: UUID, resource: UUID) -> None:
    key = JobKey(TenantId(tenant), TargetId(target), ResourceId(resource))
    assert JobKey.unpack(key.pack()) == key


def test_a_later_epoch_beats_any_fence() -> None:
    assert Fence(1, 10**15) < Fence(2, 1) < Fence(2, 2)


@given(st.integers(1, 10_000), st.floats(0, 0.999))
def test_back_off_stays_between_floor_and_cap(attempt: int, jitter: float) -> None:
    rule = BackOff(base_s=0.5, cap_s=15, floor_s=0.1)
    assert 0.1 <= rule.wait_s(attempt, jitter) <= 15


def test_every_counted_failure_has_a_back_off() -> None:
    assert set(BACK_OFF) == set(Failure) - {Failure.RELEASED}
