"""`muster keys`: which keys there are, and rotations to their end."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from control_plane.cli.keys import INSTALLATION
from protos.keys.v1 import keys_pb2 as pb
from protos.tenancy.v1 import tenancy_pb2
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


class FakeKeys(FakeAdmin):
    """A KeyService: what it says of key-encryption keys, and how each rotation goes."""

    def __init__(self) -> None:
        super().__init__()
        self.wrapping = [pb.KeyEncryptionKey(id="new", is_primary=True, is_available=True, data_keys=2)]
        self.closed: set[str] = set()
        self.is_cut = False

    def ListKeyEncryptionKeys(self, request: Any, context: Any) -> pb.ListKeyEncryptionKeysResponse:
        self._enter(request, context)
        return pb.ListKeyEncryptionKeysResponse(keys=self.wrapping)

    def ListDataKeys(self, request: Any, context: Any) -> pb.ListDataKeysResponse:
        self._enter(request, context)
        keys = [pb.DataKey(version=n, key_encryption_key_id="new", is_primary=n == 2) for n in (2, 1)]
        return pb.ListDataKeysResponse(keys=keys)

    def RotateDataKey(self, request: Any, context: Any) -> Iterator[pb.RotateDataKeyResponse]:
        self._enter(request, context)
        yield pb.RotateDataKeyResponse(total=3, version=2)
        if request.tenant_id in self.closed:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "1 cannot be opened")
        if not self.is_cut:
            yield pb.RotateDataKeyResponse(resealed=3, total=3, version=2, is_done=True)

    def RewrapDataKeys(self, request: Any, context: Any) -> Iterator[pb.RewrapDataKeysResponse]:
        self._enter(request, context)
        yield from (pb.RewrapDataKeysResponse(rewrapped=n, total=2, is_done=n == 2) for n in range(3))


@pytest.fixture
def fake() -> FakeKeys:
    return FakeKeys()


def test_keys_are_listed(muster: Run) -> None:
    assert muster("keys", "list").stdout.split() == ["ID", "USE", "DATA", "KEYS", "new", "wraps", "2"]
    said = muster("keys", "list", "--tenant", "t").stdout
    assert said.split()[:4] == ["VERSION", "USE", "WRAPPED", "BY"]
    assert [key["version"] for key in json.loads(muster("keys", "list", "--tenant", "t", "--json").stdout)["keys"]] == [
        2,
        1,
    ]


def test_the_status_says_when_all_is_well(muster: Run) -> None:
    done = muster("keys", "status")
    assert done.exit_code == 0
    assert "every data key is wrapped by the primary key" in done.stdout


def test_the_status_says_which_key_is_still_needed_and_which_is_missing(muster: Run, fake: FakeKeys) -> None:
    fake.wrapping.append(pb.KeyEncryptionKey(id="old", is_available=True, data_keys=5))
    done = muster("keys", "status")
    assert done.exit_code == 0
    assert "old is still needed for 5 data keys" in done.stdout
    fake.wrapping.append(pb.KeyEncryptionKey(id="lost", data_keys=7))
    done = muster("keys", "status")
    assert done.exit_code == 1
    assert "MISSING: lost wraps 7 data keys" in done.stdout
    said = json.loads(muster("keys", "status", "--json").stdout)
    assert (said["needs_rewrap"], said["is_missing_keys"]) == (True, True)


def test_a_rotation_is_told_when_it_is_done(muster: Run, fake: FakeKeys) -> None:
    done = muster("keys", "rotate", "--tenant", "t", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"rotated": [{"tenant_id": "t", "version": 2, "resealed": 3}], "refused": []}


def test_all_are_rotated_and_one_that_cannot_be_stops_nobody(muster: Run, fake: FakeKeys) -> None:
    fake.tenants = [tenancy_pb2.Tenant(id=name) for name in ("one", "two", "three")]
    fake.closed = {"two"}
    done = muster("keys", "rotate", "--all")
    assert done.exit_code == 1
    assert "tenant two: 1 cannot be opened" in done.stderr
    asked = [call.tenant_id for call in fake.calls if isinstance(call, pb.RotateDataKeyRequest)]
    assert asked == [INSTALLATION, "one", "two", "three"]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ID", INSTALLATION, "one", "three"]


def test_a_rotation_that_was_cut_off_is_no_success(muster: Run, fake: FakeKeys) -> None:
    fake.is_cut = True
    done = muster("keys", "rotate", "--tenant", "t")
    assert done.exit_code == 1
    assert "run it again" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--tenant", "t", "--all"]])
def test_it_must_be_said_whose_key(muster: Run, fake: FakeKeys, arguments: list[str]) -> None:
    done = muster("keys", "rotate", *arguments)
    assert done.exit_code == 1
    assert "either --tenant or --all" in done.stderr
    assert fake.calls == []


def test_data_keys_are_wrapped_anew(muster: Run) -> None:
    assert "2 data keys wrapped anew" in muster("keys", "rewrap").stdout
    assert json.loads(muster("keys", "rewrap", "--json").stdout)["is_done"] is True
