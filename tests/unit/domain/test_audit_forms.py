"""Exports: safe cells, OCSF for every action, and lines that can be verified without a server."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from control_plane.api.policy import POLICY
from control_plane.domain import ocsf
from control_plane.domain.audit import AuditQuery
from control_plane.domain.audit_chain import genesis
from control_plane.domain.audit_check import ProblemKind
from control_plane.domain.audit_forms import (
    Form,
    Row,
    Stretch,
    Vouched,
    csv_first,
    jsonl_first,
    jsonl_last,
    matches,
    render,
    without_formula,
)
from control_plane.domain.audit_offline import NotAnExport, OfflineCheck, Verdict
from control_plane.domain.checkpoints import ChainHead, Replay, Signed, SigningKey, make
from tests.unit.domain.test_audit_chain import CONTENT, DOC, TENANT, chain

KEY = SigningKey(b"k" * 32)
TIME = "2026-11-24T11:00:00.000000Z"
CHANGED, MISSING, BROKEN_LINK = ProblemKind.CHANGED, ProblemKind.MISSING, ProblemKind.BROKEN_LINK
CUT_OFF, CHECKPOINT = ProblemKind.CUT_OFF, ProblemKind.CHECKPOINT


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "  =1", "＝1", "\n=1"])
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert without_formula(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "a=1", "user.create", "2026-11-24", "'=1", " x"])
def test_other_cells_stay(cell: str) -> None:
    assert without_formula(cell) == cell


def test_csv_has_a_row_for_each_event() -> None:
    links = chain(2)
    content = CONTENT._replace(actor_agent='=cmd|"/c calc"!A1', reason="two\r\nlines, one cell")
    rows = [Row(links[0]), Row(links[1].__class__(2, links[1].hash, "", content), '{"userName":"ada"}')]
    text = (csv_first() + b"".join(render(Form.CSV, TENANT, rows))).decode()
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["seq"] for row in table] == ["1", "2"]
    assert table[1]["actor_agent"] == """'=cmd|"/c calc"!A1"""
    assert (table[1]["reason"], table[1]["personal"]) == ("two\r\nlines, one cell", '{"userName":"ada"}')
    assert (table[0]["actor_type"], table[0]["outcome"], table[0]["hash"]) == ("token", "success", links[0].hash.hex())


def audited() -> set[str]:
    """Every action that the policy table names."""
    actions = {rule.audit_action for rule in POLICY.values() if rule.audit_action} - {"<type>.<verb>"}
    return {
        action.replace("<type>", noun) for action in actions for noun in (("user", "group") if "<" in action else ("",))
    }


@pytest.mark.parametrize("action", sorted(audited()))
def test_every_audited_action_is_mapped(action: str) -> None:
    assert action in ocsf.MEANINGS


def test_the_page_has_the_mapping() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (\d{4}) (.+?) \| (\d+) (.+?) \|$", DOC, re.MULTILINE)
    told = {action: (int(uid), name, int(number), activity) for action, uid, name, number, activity in rows}
    assert told == {
        action: (one.class_uid, ocsf.CLASS_NAMES[one.class_uid], one.activity_id, one.activity)
        for action, one in ocsf.MEANINGS.items()
    }


@pytest.mark.parametrize("action", [*ocsf.MEANINGS, "user.list", "moon.land"])
def test_an_event_has_what_its_class_demands(action: str) -> None:
    link = chain(1)[0]
    told = ocsf.event(link, CONTENT._replace(action=action, outcome=2, actor_address=""))
    assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]
    assert told["category_uid"] == told["class_uid"] // 1000
    assert (told["status_id"], told["time"]) == (2, 1795514400000)
    demanded = {3001: ["user"], 3002: ["user", "service"], 3004: ["entity"], 3005: ["user"], 3006: ["group"],
                6003: ["api", "actor", "src_endpoint"]}  # fmt: skip
    assert all(told[name] for name in demanded[told["class_uid"]])


def test_an_event_with_a_forged_time_is_still_told() -> None:
    assert ocsf.event(chain(1)[0], CONTENT._replace(time="infinity", actor_type=77))["time"] == 0


@pytest.mark.parametrize(
    ("query", "is_met"),
    [
        (AuditQuery(), True),
        (AuditQuery(action="user.*"), True),
        (AuditQuery(action="use.*"), False),
        (AuditQuery(action="user.patch", actor_id="k3y1dk3y1d12"), True),
        (AuditQuery(action="user.create"), False),
        (AuditQuery(request_id="8d7f6c", trace_id="other"), False),
    ],
)
def test_conditions_are_joined_by_and(query: AuditQuery, is_met: bool) -> None:
    assert matches(query, CONTENT) is is_met


# Offline.


def checkpoint(seq: int) -> tuple[Signed, Replay]:
    """A checkpoint over the chain up to ``seq``."""
    replay = Replay()
    return make(replay, {TENANT: ChainHead(TENANT, seq, chain(seq)[-1].hash)}, 1, TIME, KEY), replay


def export(count: int = 5, seq: int = 4) -> list[bytes]:
    """The lines of an export with a checkpoint."""
    links, (signed, replay) = chain(count), checkpoint(seq)
    head = replay.heads[TENANT]
    vouched = Vouched(head, 0, replay.tree().proof(0), signed.statement, signed.signature)
    lines = [jsonl_first(Stretch(TENANT, 1, genesis(TENANT), count, True, True, seq))]
    lines += render(Form.JSONL, TENANT, [Row(link, '{"userName":"ada"}' if link.seq == 2 else "") for link in links])
    return [*lines, *jsonl_last(vouched, count, links[-1].hash).splitlines(keepends=True)]


def judged(lines: list[bytes], checkpoints: list[bytes] | None = None, key: SigningKey = KEY) -> Verdict:
    check = OfflineCheck({key.public.id: key.public}, checkpoints)
    check.begin(lines[0])
    check.feed(lines[1:])
    return check.finish()


def kinds(verdict: Verdict) -> list[tuple[ProblemKind, int]]:
    return [(one.kind, one.seq) for one in verdict.problems]


def test_an_export_needs_nothing_but_the_key() -> None:
    verdict = judged(export())
    assert verdict.problems == []
    assert (verdict.first_seq, verdict.last_seq, verdict.verified) == (1, 5, 5)
    assert (verdict.checkpoint, verdict.vouched_seq) == ((1, TIME), 4)


def test_with_the_checkpoint_file_it_must_agree() -> None:
    signed, _ = checkpoint(4)
    assert judged(export(), [signed.line()]).problems == []
    longer, _ = checkpoint(9)
    assert kinds(judged(export(), [longer.line()])) == [(CUT_OFF, 6)]
    assert (CHECKPOINT, 0) in kinds(judged(export(), [signed.line()[:-20]]))


def changed(line: int, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        assert old in lines[line]
        return [*lines[:line], lines[line].replace(old, new, 1), *lines[line + 1 :]]

    return change


DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], tuple[ProblemKind, int]]] = {
    "an event changed": (changed(3, b"user.patch", b"user.purge"), (CHANGED, 3)),
    "a key twice": (changed(3, b'{"action"', b'{"action":"x","action"'), (CHANGED, 3)),
    "a key more": (changed(3, b',"hash"', b',"zzz":1,"hash"'), (CHANGED, 3)),
    "of another tenant": (changed(0, b"0199f0c4", b"0199f0c5"), (CHANGED, 1)),
    "a line gone": (lambda lines: [*lines[:3], *lines[4:]], (BROKEN_LINK, 3)),
    "a line twice": (lambda lines: [*lines[:4], *lines[3:]], (BROKEN_LINK, 3)),
    "nonsense": (changed(3, b"{", b""), (CHANGED, 3)),
    "cut off": (lambda lines: lines[:4], (CUT_OFF, 4)),
    "the signature": (changed(6, b'"signature":"', b'"signature":"00'), (CHECKPOINT, 0)),
    "the root": (changed(6, b'"root":"', b'"root":"00'), (CHECKPOINT, 0)),
    "the place": (changed(6, b'"leaf_index":0', b'"leaf_index":1'), (CHECKPOINT, 0)),
    "what it speaks of": (changed(0, b'"checkpoint_seq":4', b'"checkpoint_seq":3'), (CUT_OFF, 4)),
    "a line behind the end": (lambda lines: [*lines, lines[3]], (CHANGED, 0)),
    "the number of events": (changed(7, b'"events":5', b'"events":4'), (CUT_OFF, 5)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_its_place(damage: str) -> None:
    change, expected = DAMAGES[damage]
    assert expected in kinds(judged(change(export())))


def test_a_missing_event_is_told() -> None:
    lines, links = export(), chain(5)
    lines[3] = next(iter(render(Form.JSONL, TENANT, [Row(links[2].__class__(3, links[2].hash, "event-3", None))])))
    assert kinds(judged(lines)) == [(MISSING, 3)]


def test_another_key_vouches_for_nothing() -> None:
    verdict = judged(export(), key=SigningKey(b"o" * 32))
    assert (kinds(verdict), verdict.vouched_seq) == ([(CHECKPOINT, 0)], 0)


@pytest.mark.parametrize(
    "first", [b"", b"{}", b'{"export":{}}', b"[]", jsonl_first(Stretch(TENANT, 1, b"", 1, False, True))]
)
def test_what_cannot_be_verified_says_so(first: bytes) -> None:
    with pytest.raises(NotAnExport):
        judged([first])


def test_lines_are_plain_json_objects() -> None:
    told: list[dict[str, Any]] = [orjson.loads(line) for line in export()]
    assert told[2]["personal"] == {"userName": "ada"}
    assert (told[1]["seq"], told[1]["action"]) == (1, "user.patch")
