"""`muster tenant`: the identity provider and the switches beside its preset."""

import pytest

from control_plane.cli.tenant_fields import Provider
from control_plane.scim.compatibility import PRESETS
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


def test_every_preset_can_be_named() -> None:
    assert {str(each) for each in Provider} == set(PRESETS)


def test_a_tenant_is_created_for_an_identity_provider(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "create", "Acme", "--identity-provider", "entra")
    assert done.exit_code == 0, done.stderr
    assert fake.calls[0].identity_provider == pb.IDENTITY_PROVIDER_ENTRA
    assert "identity provider  entra" in done.stdout
    assert "entra" in muster("tenant", "list").stdout


def test_an_identity_provider_nobody_knows_is_refused(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "create", "Acme", "--identity-provider", "acme")
    assert done.exit_code == 2
    assert fake.calls == []


def test_an_update_names_only_what_is_given(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "update", "t", "--identity-provider", "okta")
    assert done.exit_code == 0, done.stderr
    (request,) = fake.calls
    assert (request.tenant.id, request.tenant.identity_provider) == ("t", pb.IDENTITY_PROVIDER_OKTA)
    assert list(request.update_mask.paths) == ["identity_provider"]


def test_switches_are_set_and_cleared_one_by_one(muster: Run, fake: FakeAdmin) -> None:
    switches = ("--set", "replace_creates=true", "--set", "strict_attributes=False", "--unset", "put_keeps_members")
    done = muster("tenant", "update", "t", "--name", "Acme", *switches)
    assert done.exit_code == 0, done.stderr
    (request,) = fake.calls
    assert request.tenant.compatibility == pb.Compatibility(replace_creates=True, strict_attributes=False)
    assert list(request.update_mask.paths) == [
        "display_name",
        "compatibility.replace_creates",
        "compatibility.strict_attributes",
        "compatibility.put_keeps_members",
    ]
    # What is in force, and whence.
    assert [line.split() for line in done.stdout.splitlines()][-2:] == [
        ["replace_creates", "true", "(set)"],
        ["put_keeps_members", "false", "(preset)"],
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to change"),
        (("--set", "replace_creates"), "'replace_creates' is not SWITCH=true or SWITCH=false"),
        (("--set", "replace_creates=maybe"), "'replace_creates=maybe' is not"),
        (("--set", "no_such=true"), "there is no switch 'no_such'"),
        (("--unset", "no_such"), "there is no switch 'no_such'"),
        (("--set", "replace_creates=true", "--unset", "replace_creates"), "named twice"),
    ],
)
def test_what_cannot_be_read_is_explained(muster: Run, fake: FakeAdmin, arguments: tuple[str, ...], says: str) -> None:
    done = muster("tenant", "update", "t", *arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert fake.calls == []


def test_limits_are_set_and_cleared_one_by_one(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "create", "Acme", "--limit", "max_users=500", "--limit", "burst=10")
    assert done.exit_code == 0, done.stderr
    assert fake.calls[0].limits == pb.TenantLimits(max_users=500, burst=10)
    limits = ("--limit", "max_users=0", "--unset-limit", "burst", "--audit-retention", "30d")
    done = muster("tenant", "update", "t", *limits)
    assert done.exit_code == 0, done.stderr
    request = fake.calls[-1]
    assert (request.tenant.limits.HasField("max_users"), request.tenant.limits.max_users) == (True, 0)
    assert list(request.update_mask.paths) == ["audit_retention", "limits.max_users", "limits.burst"]
    assert "audit kept         30 days" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--limit", "burst"), "'burst' is not LIMIT=NUMBER"),
        (("--limit", "burst=-1"), "'burst=-1' is not LIMIT=NUMBER"),
        (("--limit", "no_such=1"), "there is no limit 'no_such'"),
        (("--limit", "burst=1", "--unset-limit", "burst"), "a limit is named twice"),
        (("--audit-retention", "soon"), "'soon' is not a span"),
    ],
)
def test_a_limit_that_cannot_be_read_is_explained(
    muster: Run, fake: FakeAdmin, arguments: tuple[str, ...], says: str
) -> None:
    done = muster("tenant", "update", "t", *arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert fake.calls == []


def test_a_tenant_is_suspended_resumed_and_restored(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "suspend", "t", "--reason", "unpaid")
    assert ["state", "suspended"] in [line.split() for line in done.stdout.splitlines()]
    assert fake.calls == [pb.SuspendTenantRequest(id="t", reason="unpaid")]
    assert "active" in muster("tenant", "resume", "t").stdout
    assert '"state": "TENANT_STATE_SUSPENDED"' in muster("tenant", "restore", "t", "--json").stdout


def test_only_who_asks_sees_deleted_tenants(muster: Run, fake: FakeAdmin) -> None:
    muster("tenant", "list")
    muster("tenant", "list", "--deleted")
    assert [call.show_deleted for call in fake.calls] == [False, True]


def test_a_tenant_is_deleted_by_its_name(muster: Run, fake: FakeAdmin) -> None:
    muster("tenant", "create", "Acme Inc")
    done = muster("tenant", "delete", "tenant-1", "--grace", "7d", typed="Acme Inc\n")
    assert done.exit_code == 0, done.stderr
    request = fake.calls[-1]
    assert (request.confirm_display_name, request.grace.ToTimedelta().days) == ("Acme Inc", 7)
    assert "data goes" in done.stdout


def test_another_name_deletes_nothing(muster: Run, fake: FakeAdmin) -> None:
    muster("tenant", "create", "Acme Inc")
    done = muster("tenant", "delete", "tenant-1", typed="acme\n")
    assert done.exit_code == 1
    assert "nothing was deleted" in done.stderr
    assert not any(isinstance(call, pb.DeleteTenantRequest) for call in fake.calls)


def test_a_program_deletes_without_being_asked(muster: Run, fake: FakeAdmin) -> None:
    muster("tenant", "create", "Acme Inc")
    done = muster("tenant", "delete", "tenant-1", "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    assert not fake.calls[-1].HasField("grace")
    assert fake.calls[-1].confirm_display_name == "Acme Inc"
