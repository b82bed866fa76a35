import base64
import json
import stat
from pathlib import Path

import pytest

from control_plane.devstack import state
from control_plane.devstack.errors import FolderInUse, StateUnreadable


def test_a_new_folder_gets_fresh_secrets() -> None:
    first, second = state.Secrets.generate(), state.Secrets.generate()
    tokens = {first.admin_token, first.gateway_token, first.worker_token, first.target_token, second.admin_token}
    assert len(tokens) == 5
    assert all(len(token) >= 32 for token in tokens)
    keys = {first.sealing_key, first.audit_signing_key, second.sealing_key, second.audit_signing_key}
    assert [len(base64.b64decode(key)) for key in keys] == [32] * 4


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    kept = state.load(tmp_path)
    assert (kept.first.display_name, kept.second.display_name) == ("Acme (demo)", "Globex (demo)")
    kept.first.tenant_id, kept.first.token = "tenant", "secret"
    kept.ports["gateway"] = 8081
    kept.target_id = "target"
    state.save(tmp_path, kept)
    assert state.load(tmp_path) == kept


def test_a_folder_from_before_checkpoints_gets_a_signing_key_and_keeps_it(tmp_path: Path) -> None:
    state.save(tmp_path, state.load(tmp_path))
    file = tmp_path / "state.json"
    said = json.loads(file.read_text())
    del said["secrets"]["audit_signing_key"]
    file.write_text(json.dumps(said))
    kept = state.load(tmp_path)
    assert len(base64.b64decode(kept.secrets.audit_signing_key)) == 32
    state.save(tmp_path, kept)
    assert state.load(tmp_path) == kept


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    state.save(tmp_path, state.load(tmp_path))
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"secrets": {"admin_token": "x"}}'])
def test_a_damaged_file_is_named_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateUnreadable, match=r"state\.json"):
        state.load(tmp_path)
    assert (tmp_path / "state.json").read_text() == text


def test_secrets_stay_out_of_its_repr(tmp_path: Path) -> None:
    kept = state.load(tmp_path)
    assert kept.secrets.admin_token not in repr(kept)


def test_one_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    owner = state.lock(tmp_path)
    with pytest.raises(FolderInUse, match=str(tmp_path)):
        state.lock(tmp_path)
    state.unlock(owner)
    state.unlock(state.lock(tmp_path))


def test_an_owner_that_did_not_end_in_order_is_noticed(tmp_path: Path) -> None:
    owner = state.lock(tmp_path)
    assert not state.left_running(owner)
    state.mark_running(owner)
    owner.close()  # as the kernel does after kill -9
    owner = state.lock(tmp_path)
    assert state.left_running(owner)
    state.mark_running(owner)
    state.unlock(owner)
    owner = state.lock(tmp_path)
    assert not state.left_running(owner)
    state.unlock(owner)
