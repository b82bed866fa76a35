import json
from pathlib import Path

import pytest

from protos.audit.v1 import audit_pb2
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import CREATED_S, FakeAdmin


def test_a_tenant_is_created_and_shown(muster: Run, fake: FakeAdmin) -> None:
    done = muster("tenant", "create", "Ümit & Søn")
    assert done.exit_code == 0
    assert "tenant-1" in done.stdout
    assert "Ümit & Søn" in done.stdout
    assert fake.tenants[0].display_name == "Ümit & Søn"


def test_json_has_the_field_names_of_the_api(muster: Run) -> None:
    done = muster("tenant", "create", "Acme", "--json")
    assert json.loads(done.stdout) == {
        "id": "tenant-1",
        "display_name": "Acme",
        "create_time": "2026-11-18T11:06:40Z",
        "identity_provider": "IDENTITY_PROVIDER_GENERIC",
        "state": "TENANT_STATE_ACTIVE",
        "suspend_reason": "",
    }


def test_a_list_has_all_pages(muster: Run) -> None:
    for number in range(5):
        muster("tenant", "create", f"Tenant [{number}]")
    listed = json.loads(muster("tenant", "list", "--json").stdout)
    assert [tenant["id"] for tenant in listed["tenants"]] == [f"tenant-{n + 1}" for n in range(5)]
    # What looks like rich's markup is a name like any other.
    assert "Tenant [4]" in muster("tenant", "list").stdout


def test_what_is_not_there_is_one_line_on_standard_error(muster: Run) -> None:
    done = muster("tenant", "show", "nowhere")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "muster: tenant nowhere not found\n"


def test_a_targets_token_comes_from_a_file_and_is_never_shown(muster: Run, fake: FakeAdmin, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    arguments = ("--tenant", "t", "--base-url", "https://app.example/scim", "--bearer-token-file", secret)
    done = muster("target", "create", "App", *arguments)
    assert done.exit_code == 0
    assert fake.target_tokens == ["s3cret"]
    assert "s3cret" not in done.stdout
    assert "paused" in done.stdout


def test_a_target_is_activated_and_paused(muster: Run) -> None:
    muster("target", "create", "App", "--tenant", "t", "--base-url", "https://app.example")
    assert "active" in muster("target", "activate", "target-1", "--tenant", "t").stdout
    assert "active" in muster("target", "list", "--tenant", "t").stdout
    assert "paused" in muster("target", "pause", "target-1", "--tenant", "t").stdout
    assert "https://app.example" in muster("target", "get", "target-1", "--tenant", "t").stdout


def test_an_update_names_only_what_is_given(muster: Run, fake: FakeAdmin) -> None:
    muster("target", "create", "App", "--tenant", "t", "--base-url", "https://app.example")
    muster("target", "update", "target-1", "--tenant", "t", "--base-url", "https://new.example")
    assert list(fake.calls[-1].update_mask.paths) == ["scim.base_url"]


def test_an_update_of_nothing_is_refused(muster: Run, fake: FakeAdmin) -> None:
    done = muster("target", "update", "target-1", "--tenant", "t")
    assert done.exit_code == 1
    assert "nothing to change" in done.stderr
    assert fake.calls == []


def test_a_status_has_numbers_in_json(muster: Run) -> None:
    found = json.loads(muster("target", "status", "target-1", "--tenant", "t", "--json").stdout)
    assert (found["total"], found["pending"], found["failing"]) == (12, 3, 1)
    assert "it said no" in muster("target", "status", "target-1", "--tenant", "t").stdout


def test_audit_conditions_reach_the_api(muster: Run, fake: FakeAdmin) -> None:
    event = audit_pb2.AuditEvent(
        id="e",
        actor_type=audit_pb2.ACTOR_TYPE_TOKEN,
        actor_id="key1",
        action="user.create",
        outcome=audit_pb2.OUTCOME_SUCCESS,
    )
    event.time.FromSeconds(CREATED_S)
    fake.events.append(event)
    done = muster(
        "audit", "list", "--tenant", "t", "--since", "2026-11-18T12:00:00+01:00", "--outcome", "failure", "--actor", "k"
    )
    assert "token key1" in done.stdout
    assert "2026-11-18 11:06:40" in done.stdout
    (request,) = fake.calls
    assert request.start_time.ToJsonString() == "2026-11-18T11:00:00Z"
    assert (request.outcome, request.actor_id, request.page_size) == (audit_pb2.OUTCOME_FAILURE, "k", 100)


def test_audit_refuses_a_time_that_cannot_be_read(muster: Run) -> None:
    done = muster("audit", "list", "--tenant", "t", "--since", "yesterday")
    assert (done.exit_code, "neither a time" in done.stderr) == (1, True)


def test_the_tenant_may_come_from_the_environment(
    muster: Run, fake: FakeAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_TENANT", "t9")
    assert muster("target", "list").exit_code == 0
    assert fake.calls[0].tenant_id == "t9"
