"""`muster operator`, `muster api-key` and `muster whoami`: what they send, and what they show."""

import json

import pytest

from protos.identity.v1 import identity_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


@pytest.fixture
def ada(muster: Run) -> str:
    done = muster("operator", "create", "ada@example.com", "--role", "owner", "--name", "Ada", "--json")
    return str(json.loads(done.stdout)["id"])


def test_an_operator_is_created_shown_and_listed(muster: Run, fake: FakeAdmin, ada: str) -> None:
    assert (fake.operators[0].email, fake.operators[0].role) == ("ada@example.com", pb.OPERATOR_ROLE_OWNER)
    for command in (("show", ada), ("list",)):
        shown = muster("operator", *command).stdout
        assert all(word in shown for word in (ada, "ada@example.com", "Ada", "owner", "enabled"))


def test_an_update_names_only_what_is_given(muster: Run, fake: FakeAdmin, ada: str) -> None:
    assert "auditor" in muster("operator", "update", ada, "--role", "auditor", "--name", "").stdout
    assert list(fake.calls[-1].update_mask.paths) == ["display_name", "role"]
    muster("operator", "update", ada, "--oidc-issuer", "https://idp.example", "--oidc-subject", "42")
    request = fake.calls[-1]
    assert (list(request.update_mask.paths), request.operator.oidc.subject) == (["oidc"], "42")
    muster("operator", "update", ada, "--no-oidc")
    request = fake.calls[-1]
    assert (list(request.update_mask.paths), request.operator.HasField("oidc")) == (["oidc"], False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to change"),
        (("--oidc-issuer", "https://x"), "only of use together"),
        (("--oidc-issuer", "https://x", "--oidc-subject", "1", "--no-oidc"), "goes without"),
    ],
)
def test_an_update_that_makes_no_sense_is_explained(muster: Run, options: tuple[str, ...], said: str) -> None:
    done = muster("operator", "update", "x", *options)
    assert (done.exit_code, said in done.stderr) == (1, True)


def test_an_operator_is_disabled_enabled_and_deleted(muster: Run, fake: FakeAdmin, ada: str) -> None:
    assert "disabled since" in muster("operator", "disable", ada).stdout
    assert "enabled" in muster("operator", "enable", ada).stdout
    assert [list(call.update_mask.paths) for call in fake.calls[-2:]] == [["disabled"]] * 2
    assert muster("operator", "delete", ada).exit_code == 1  # nobody said yes
    assert fake.operators
    assert muster("operator", "delete", ada, "--yes").exit_code == 0
    assert not fake.operators


def test_a_new_key_is_shown_once(muster: Run, ada: str) -> None:
    done = muster("api-key", "create", "--operator", ada, "--label", "laptop")
    assert done.stdout.endswith("The API key, shown only now:\nkey-secret-1\n")
    listed = muster("api-key", "list").stdout
    assert f"operator {ada}" in listed
    assert "key-secret-1" not in listed
    assert "revoked" in muster("api-key", "revoke", "key-1").stdout


def test_a_services_key_has_scopes_tenants_networks_and_an_end(muster: Run, fake: FakeAdmin) -> None:
    wanted = (
        "--scope",
        "tokens:read",
        "--scope",
        "audit:read",
        "--tenant",
        "t",
        "--from",
        "10.0.0.0/8",
        "--ttl",
        "90d",
    )
    done = muster("api-key", "create", "--service", "billing", *wanted, "--json")
    assert json.loads(done.stdout)["secret"] == "key-secret-1"
    request = fake.calls[-1]
    assert (request.service, list(request.scopes)) == ("billing", ["tokens:read", "audit:read"])
    assert (list(request.tenant_ids), list(request.allowed_networks)) == (["t"], ["10.0.0.0/8"])
    assert request.ttl.ToTimedelta().days == 90


@pytest.mark.parametrize("owners", [(), ("--operator", "x", "--service", "y")])
def test_a_key_has_one_owner(muster: Run, fake: FakeAdmin, owners: tuple[str, ...]) -> None:
    done = muster("api-key", "create", *owners)
    assert (done.exit_code, "say whose key" in done.stderr, fake.calls) == (1, True, [])


def test_scopes_and_oneself(muster: Run) -> None:
    assert muster("api-key", "scopes").stdout == "audit:read\ntokens:read\n"
    shown = muster("whoami").stdout
    assert all(word in shown for word in ("owner", "admin"))
    assert json.loads(muster("whoami", "--json").stdout)["role"] == "owner"
