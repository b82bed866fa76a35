"""muster audit export, tail, verify, checkpoint and key, with a control plane behind them."""

import json
from pathlib import Path

import pytest

from control_plane.cli import audit_trail
from protos.audit.v1 import audit_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


def test_an_export_is_there_when_it_is_whole(muster: Run, fake: FakeAdmin, tmp_path: Path) -> None:
    file = tmp_path / "trail.csv"
    given = ("--format", "csv", "--personal", "--action", "token.*", "--outcome", "failure")
    done = muster("audit", "export", "--tenant", "a", "-o", file, *given)
    assert (done.exit_code, file.read_bytes()) == (0, b"first\nsecond\n")
    assert f"2 events in {file}" in done.stderr
    wanted = pb.AuditFilter(action="token.*", outcome=pb.OUTCOME_FAILURE)
    assert fake.calls == [
        pb.ExportAuditEventsRequest(
            tenant_id="a", filter=wanted, format=pb.EXPORT_FORMAT_CSV, include_personal=True
        )
    ]  # fmt: skip
    assert muster("audit", "export", "--tenant", "broken", "-o", tmp_path / "half").exit_code == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_tail_goes_on_where_it_was_cut_off(muster: Run, fake: FakeAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_trail, "RETRY_S", 0.0)
    fake.events += [
        pb.AuditEvent(seq=5, action="user.create", personal='{"userName":"ada"}', reason="\x1b[2Jgone"),
        pb.AuditEvent(seq=6, action="user.delete", is_erased=True),
    ]
    done = muster("audit", "tail", "--tenant", "a", "--after", "4", "--personal")
    assert done.exit_code == 1, "the last answer was no interruption"
    first, second = done.stdout.splitlines()
    assert first.endswith('?[2Jgone  {"userName":"ada"}')
    assert second.endswith("(erased)")
    assert [call.after_seq for call in fake.calls] == [4, 5, 6]
    lines = muster("audit", "tail", "--tenant", "a", "--after", "4", "--json").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == ["5", "6"]


def test_a_whole_trail(muster: Run) -> None:
    done = muster("audit", "verify", "--tenant", "a")
    assert (done.exit_code, done.stdout) == (0, "Whole: 4 events, 3 to 6, checkpoint 7.\n")
    assert muster("audit", "verify").exit_code == 2


def test_what_is_wrong_is_named_and_fails(muster: Run, fake: FakeAdmin) -> None:
    fake.problems.append(pb.Problem(kind=pb.PROBLEM_KIND_CHANGED, seq=5, event_id="e5", description="changed"))
    done = muster("audit", "verify", "--tenant", "a")
    assert done.exit_code == 1
    assert done.stdout == "CHANGED at 5 (event e5): changed\nNOT whole: 1 problems in 4 events.\n"
    told = json.loads(muster("audit", "verify", "--tenant", "a", "--json").stdout)
    assert (told["is_whole"], told["checkpoint"], told["problems"][0]["kind"]) == (False, 7, "CHANGED")


def test_a_verification_without_a_verdict_is_no_success(muster: Run) -> None:
    done = muster("audit", "verify", "--tenant", "silent")
    assert done.exit_code == 1
    assert "without a verdict" in done.stderr


def test_checkpoint_and_key(muster: Run) -> None:
    assert muster("audit", "checkpoint").stdout.startswith("Checkpoint 7 over 3 chains, 20")
    told = json.loads(muster("audit", "key", "--json").stdout)
    assert told == {"key_id": "k1", "public_key": "cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA="}
