"""`muster token`: what is asked for, and what an operator sees before the old token is revoked."""

import json
from datetime import UTC, datetime, timedelta

from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


def test_a_new_token_is_shown_once(muster: Run) -> None:
    done = muster("token", "create", "--tenant", "tenant-1", "--label", "Okta")
    assert done.exit_code == 0
    assert done.stdout.endswith("The token, shown only now:\nsecret-1\n")
    assert "secret-1" not in muster("token", "list", "--tenant", "tenant-1").stdout


def test_a_new_token_as_json_has_its_secret(muster: Run) -> None:
    done = json.loads(muster("token", "create", "--tenant", "tenant-1", "--json").stdout)
    assert (done["token"]["id"], done["secret"]) == ("token-1", "secret-1")


def test_a_token_may_be_for_reading_only_and_for_a_while(muster: Run, fake: FakeAdmin) -> None:
    assert muster("token", "create", "--tenant", "t", "--read-only", "--ttl", "90d").exit_code == 0
    (request,) = fake.calls
    assert list(request.scopes) == [pb.SCOPE_SCIM_READ]
    assert request.ttl.ToTimedelta().days == 90


def test_a_span_that_cannot_be_read_is_explained(muster: Run, fake: FakeAdmin) -> None:
    done = muster("token", "create", "--tenant", "t", "--ttl", "soon")
    assert done.exit_code == 1
    assert "'soon' is not a span such as 90s, 15m, 24h or 7d" in done.stderr
    assert fake.calls == []


def test_a_token_is_rotated_with_an_overlap(muster: Run, fake: FakeAdmin) -> None:
    done = muster("token", "rotate", "token-1", "--tenant", "t", "--overlap", "0s")
    assert "The token, shown only now:\nsecret-new\n" in done.stdout
    (request,) = fake.calls
    assert request.HasField("overlap")
    assert request.overlap.ToTimedelta().total_seconds() == 0


def test_a_revoked_token_is_listed_as_such(muster: Run) -> None:
    muster("token", "create", "--tenant", "t")
    assert muster("token", "revoke", "token-1", "--tenant", "t").exit_code == 0
    assert "revoked" in muster("token", "list", "--tenant", "t").stdout


def test_a_token_may_be_for_some_networks_and_for_ever(muster: Run, fake: FakeAdmin) -> None:
    networks = ("--network", "192.0.2.0/24", "--network", "2001:db8::1")
    assert muster("token", "create", "--tenant", "t", "--never-expires", *networks).exit_code == 0
    (request,) = fake.calls
    assert list(request.allowed_networks) == ["192.0.2.0/24", "2001:db8::1"]
    assert request.never_expires
    assert not request.HasField("ttl")


def test_a_rotation_tells_how_the_old_token_was_used(muster: Run, fake: FakeAdmin) -> None:
    old = pb.Token(id="token-1", tenant_id="t", key_id="oldkey", last_use_address="10.0.0.1")
    old.last_use_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=3, seconds=5))
    fake.tokens.append(old)
    done = muster("token", "rotate", "token-1", "--tenant", "t", "--overlap", "until-revoked")
    told = "The old token oldkey works until it is revoked; it was used 3 min ago from 10.0.0.1."
    assert done.stdout.endswith(f"{told}\n")
    (request,) = fake.calls
    assert request.until_revoked
    assert not request.HasField("overlap")


def test_a_list_shows_last_uses_and_ends(muster: Run, fake: FakeAdmin) -> None:
    used = pb.Token(id="token-1", tenant_id="t", last_use_address="10.0.0.1", last_use_user_agent="Okta SCIM Client")
    used.last_use_time.FromDatetime(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
    used.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=5))
    fake.tokens += [used, pb.Token(id="token-2", tenant_id="t")]
    head, first, second = muster("token", "list", "--tenant", "t").stdout.splitlines()
    assert "LAST USED" in head
    assert "expires soon" in first
    assert first.rstrip().endswith("2026-05-04 03:02:01  10.0.0.1  Okta SCIM Client")
    assert "active" in second
    assert second.split().count("never") == 2
