import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control_plane.client.channel import open_channel
from control_plane.client.control_plane import ControlPlane
from control_plane.client.errors import CallFailed
from control_plane.devstack import state
from control_plane.devstack.seed import Seeder, TargetApp
from control_plane.devstack.state import State
from protos.tenancy.v1 import tenancy_pb2 as pb
from tests.unit.cli.fake_admin import ADMIN_TOKEN, FakeAdmin, serving

APP = TargetApp("http://127.0.0.1:1/v2", "target-token")


@pytest.fixture
def fake() -> FakeAdmin:
    return FakeAdmin()


@pytest.fixture
def address(fake: FakeAdmin) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
async def admin(address: str) -> AsyncIterator[ControlPlane]:
    async with open_channel(address) as channel:
        yield ControlPlane(channel, ADMIN_TOKEN)


@pytest.fixture
def kept(tmp_path: Path) -> State:
    return state.load(tmp_path)


async def seed(admin: ControlPlane, kept: State, app: TargetApp | None = APP) -> None:
    await Seeder(admin, kept, lambda: None).run(app)


async def test_a_fresh_stack_gets_two_tenants_two_tokens_and_one_active_target(
    fake: FakeAdmin, admin: ControlPlane, kept: State
) -> None:
    await seed(admin, kept)
    assert [tenant.display_name for tenant in fake.tenants] == ["Acme (demo)", "Globex (demo)"]
    assert (kept.first.tenant_id, kept.first.token) == ("tenant-1", "secret-1")
    assert (kept.second.tenant_id, kept.second.token) == ("tenant-2", "secret-2")
    (target,) = fake.targets
    assert (target.tenant_id, target.state, kept.target_id) == ("tenant-1", pb.TARGET_STATE_ACTIVE, "target-1")
    assert fake.target_tokens == ["target-token"]


async def test_a_second_start_makes_nothing_new(fake: FakeAdmin, admin: ControlPlane, kept: State) -> None:
    await seed(admin, kept)
    before = kept.first.token
    await seed(admin, kept)
    assert (len(fake.tenants), len(fake.tokens), len(fake.targets)) == (2, 2, 1)
    assert kept.first.token == before


async def test_what_was_made_is_saved_before_the_next_step(admin: ControlPlane, kept: State) -> None:
    saved: list[tuple[str, str, str]] = []
    await Seeder(
        admin, kept, lambda: saved.append((kept.first.tenant_id, kept.first.token, kept.second.tenant_id))
    ).run(None)
    assert saved[:3] == [("tenant-1", "", ""), ("tenant-1", "secret-1", ""), ("tenant-1", "secret-1", "tenant-2")]


async def test_a_revoked_token_is_replaced(fake: FakeAdmin, admin: ControlPlane, kept: State) -> None:
    await seed(admin, kept)
    fake.tokens[0].revoke_time.FromSeconds(1)
    await seed(admin, kept)
    assert (kept.first.token_id, kept.first.token) == ("token-3", "secret-3")


async def test_a_token_is_kept_until_its_last_day(fake: FakeAdmin, admin: ControlPlane, kept: State) -> None:
    await seed(admin, kept)
    for token in fake.tokens:
        token.expire_time.FromSeconds(int(time.time()) + 364 * 86_400)
    await seed(admin, kept)
    assert [kept.first.token, kept.second.token] == ["secret-1", "secret-2"]
    fake.tokens[0].expire_time.FromSeconds(int(time.time()) + 3_600)
    await seed(admin, kept)
    assert [kept.first.token, kept.second.token] == ["secret-3", "secret-2"]


async def test_tokens_whose_secret_is_lost_make_room(fake: FakeAdmin, admin: ControlPlane, kept: State) -> None:
    await seed(admin, kept)
    fake.tokens.append(pb.Token(id="own", tenant_id="tenant-1", label="somebody's own"))
    kept.first.token_id = kept.first.token = ""
    await seed(admin, kept)
    assert [token.id for token in fake.tokens if token.HasField("revoke_time")] == ["token-1"]


async def test_a_tenant_whose_making_was_not_noted_is_found_by_name(
    fake: FakeAdmin, admin: ControlPlane, kept: State, tmp_path: Path
) -> None:
    await seed(admin, kept)
    forgetful = state.load(tmp_path)
    await seed(admin, forgetful)
    assert len(fake.tenants) == 2
    assert forgetful.first.tenant_id == "tenant-1"
    assert len(fake.targets) == 1
    assert forgetful.target_id == "target-1"


async def test_tenants_of_another_database_are_made_again(admin: ControlPlane, kept: State) -> None:
    kept.first.tenant_id, kept.first.token_id, kept.first.token = "lost", "lost", "lost"
    await seed(admin, kept)
    assert (kept.first.tenant_id, kept.first.token) == ("tenant-1", "secret-1")


async def test_a_target_that_moved_is_told_to_the_control_plane(
    fake: FakeAdmin, admin: ControlPlane, kept: State
) -> None:
    await seed(admin, kept)
    await seed(admin, kept, TargetApp("http://127.0.0.1:2/v2", "target-token"))
    assert fake.targets[0].scim.base_url == "http://127.0.0.1:2/v2"


async def test_without_the_app_its_target_is_paused_until_it_is_back(
    fake: FakeAdmin, admin: ControlPlane, kept: State
) -> None:
    await seed(admin, kept)
    await seed(admin, kept, None)
    assert fake.targets[0].state == pb.TARGET_STATE_PAUSED
    await seed(admin, kept)
    assert fake.targets[0].state == pb.TARGET_STATE_ACTIVE


async def test_a_refusal_is_raised_as_what_it_means(address: str, kept: State) -> None:
    async with open_channel(address) as channel:
        with pytest.raises(CallFailed, match="needs the admin token"):
            await seed(ControlPlane(channel, "wrong"), kept)
