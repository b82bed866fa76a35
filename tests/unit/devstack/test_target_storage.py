import json
import stat
from pathlib import Path
from typing import Any

import pytest
from scim2_models import NotFoundException, Resource, ResourceType, ScimProvider, UniquenessException
from scim2_server.utils import load_default_resource_types, load_default_schemas, load_default_service_provider_config

from control_plane.devstack.target_storage import JournaledStorage

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.fixture(scope="module")
def provider() -> ScimProvider:
    return ScimProvider.from_discovery(
        load_default_schemas().values(),
        load_default_resource_types().values(),
        config=load_default_service_provider_config(),
    )


def kind(provider: ScimProvider, name: str = "User") -> ResourceType:
    return next(each for each in provider.resource_types if each.name == name)


def user(provider: ScimProvider, user_name: str, **more: object) -> Resource[Any]:
    model = provider.model_for("User")
    assert model is not None
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE], "userName": user_name, **more}
    with provider:
        found = model.model_validate(body)
    assert isinstance(found, Resource)
    return found


def reopened(storage: JournaledStorage, provider: ScimProvider, path: Path) -> JournaledStorage:
    storage.close()
    return JournaledStorage(provider, path)


def dumps(storage: JournaledStorage) -> list[dict[str, object]]:
    return [resource.model_dump() for resource in storage.resources]


def test_what_was_written_is_there_after_a_restart(provider: ScimProvider, tmp_path: Path) -> None:
    path, users = tmp_path / "journal", kind(provider)
    storage = JournaledStorage(provider, path)
    with provider:
        made = storage.create(users, user(provider, "ä@x", password="p", **{ENTERPRISE: {"department": "D"}}))
        gone = storage.create(users, user(provider, "gone@x"))
        made.user_name = "b@x"  # type: ignore[attr-defined]  # the models are made at run time
        storage.update(users, made)
        storage.delete(users, str(gone.id))
    before = dumps(storage)
    storage = reopened(storage, provider, path)
    assert dumps(storage) == before
    assert [each["userName"] for each in dumps(storage)] == ["b@x"]
    with provider, pytest.raises(NotFoundException):
        storage.get(users, str(gone.id))


def test_a_user_name_stays_taken_after_a_restart(provider: ScimProvider, tmp_path: Path) -> None:
    path, users = tmp_path / "journal", kind(provider)
    storage = JournaledStorage(provider, path)
    with provider:
        storage.create(users, user(provider, "a@x"))
        storage = reopened(storage, provider, path)
        with pytest.raises(UniquenessException):
            storage.create(users, user(provider, "a@x"))


def test_a_version_is_never_given_twice(provider: ScimProvider, tmp_path: Path) -> None:
    path, users = tmp_path / "journal", kind(provider)
    storage = JournaledStorage(provider, path)
    with provider:
        first = storage.create(users, user(provider, "a@x"))
        storage = reopened(storage, provider, path)
        second = storage.update(users, storage.get(users, str(first.id)))
    assert first.meta is not None
    assert second.meta is not None
    assert first.meta.version != second.meta.version


def test_a_line_cut_off_by_a_kill_is_forgotten(provider: ScimProvider, tmp_path: Path) -> None:
    path, users = tmp_path / "journal", kind(provider)
    storage = JournaledStorage(provider, path)
    with provider:
        storage.create(users, user(provider, "a@x"))
    with path.open("ab") as file:
        file.write(b'{"put": {"userName": "half')
    storage = reopened(storage, provider, path)
    assert [each["userName"] for each in dumps(storage)] == ["a@x"]


def test_starting_keeps_one_line_for_each_resource_and_hides_them(provider: ScimProvider, tmp_path: Path) -> None:
    path, users = tmp_path / "journal", kind(provider)
    storage = JournaledStorage(provider, path)
    with provider:
        made = storage.create(users, user(provider, "a@x"))
        for _ in range(3):
            storage.update(users, made)
    assert len(path.read_text().splitlines()) == 4
    storage = reopened(storage, provider, path)
    assert [json.loads(line)["put"]["userName"] for line in path.read_text().splitlines()] == ["a@x"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
