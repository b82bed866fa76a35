"""Verifies an export as JSON lines without any server: with a public key, and the checkpoint file if there is one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from control_plane.domain.audit_check import ChainCheck, Problem, ProblemKind
from control_plane.domain.audit_forms import EXPORT_VERSION
from control_plane.domain.checkpoints import BadLine, ChainHead, FileCheck, VerifyKey, statement_of
from control_plane.domain.ids import TenantId
from control_plane.domain.merkle import root_of


class NotAnExport(Exception):
    """The file is no export that can be verified; the message says why."""


@dataclass(slots=True)
class Verdict:
    """What a verification found."""

    tenant: str = ""
    first_seq: int = 0
    last_seq: int = 0
    verified: int = 0
    problems: list[Problem] = field(default_factory=list)
    # Number and time of the newest checkpoint that vouches for an event of the export, by signature.
    checkpoint: tuple[int, str] | None = None
    # Up to which seq checkpoints vouch.
    vouched_seq: int = 0


class OfflineCheck:
    """Takes the lines of an export one after the other; memory does not grow with it."""

    def __init__(self, keys: Mapping[str, VerifyKey], checkpoints: Iterable[bytes] | None = None) -> None:
        """``checkpoints`` are the lines of a checkpoint file; None: only what the export itself brings counts."""
        self._keys, self._checkpoints = keys, checkpoints
        self._check: ChainCheck | None = None
        self._told: dict[str, Any] = {}
        self._is_ended = False
        self._mark: dict[str, Any] | None = None
        self._marked_hash: bytes | None = None
        self.verdict = Verdict()

    @property
    def verified(self) -> int:
        """So many events so far."""
        return 0 if self._check is None else self._check.verified

    def begin(self, line: bytes) -> None:
        """Take the first line; NotAnExport if it is none of an export that can be verified."""
        try:
            told = orjson.loads(line)["export"]
            if told["version"] != EXPORT_VERSION:
                raise NotAnExport(f"version {told['version']} of the form is not known")
            tenant, first = TenantId(UUID(told["tenant_id"])), int(told["first_seq"])
            previous, self._told = bytes.fromhex(told["previous_hash"]), dict(told)
        except (ValueError, KeyError, TypeError) as err:
            raise NotAnExport("the first line is not that of an export as JSON lines") from err
        if not told.get("complete"):
            raise NotAnExport("this export was made with conditions: it leaves events out, so there is no chain in it")
        marks: dict[int, tuple[bytes, int]] = {}
        problems: list[str] = []
        if self._checkpoints is not None:
            file = FileCheck(tenant, self._keys)
            file.feed(self._checkpoints)
            problems = file.problems
            last = int(told["last_seq"])
            is_open = bool(told.get("to_end"))
            marks = {seq: one for seq, one in file.marks.items() if seq >= first - 1 and (is_open or seq <= last)}
            covered = [seq for seq in file.marks if first - 1 <= seq <= last]
            if covered and not problems:
                number = file.marks[max(covered)][1]
                self._vouch(number, file.statements[number][0].time, max(covered))
        self._check = ChainCheck(first, previous, marks)
        self._remember()
        for one in problems:
            self._check.report(ProblemKind.CHECKPOINT, 0, "", one)
        self.verdict.tenant, self.verdict.first_seq = str(tenant), first

    def feed(self, lines: Iterable[bytes]) -> None:
        """Take further lines."""
        for line in lines:
            self._take(line)

    def finish(self) -> Verdict:
        """Return the verdict."""
        check = self._started()
        if not self._is_ended:
            check.report(ProblemKind.CUT_OFF, check.seq + 1, "", "the file ends before the export did")
        elif check.seq < int(self._told["last_seq"]):
            what = f"the export ends at {check.seq}, its first line says {self._told['last_seq']}"
            check.report(ProblemKind.CUT_OFF, check.seq + 1, "", what)
        check.finish_marks()
        if self._mark is not None:
            self._finish_mark(self._mark)
        self.verdict.last_seq, self.verdict.verified = check.seq, check.verified
        self.verdict.problems = check.problems
        return self.verdict

    def _take(self, line: bytes) -> None:
        check = self._started()
        if self._is_ended:
            check.report(ProblemKind.CHANGED, 0, "", "there is a line behind the end of the export")
            return
        try:
            said = orjson.loads(line)
            if "end" in said or "checkpoint" in said:
                self._take_last(said)
                return
            seq, event_id, stored = int(said["seq"]), str(said["id"]), bytes.fromhex(said["hash"])
        except (ValueError, KeyError, TypeError, AttributeError):
            check.report(ProblemKind.CHANGED, check.seq + 1, "", "a line that cannot be read")
            return
        if said.get("missing") is True:
            check.take(seq, stored, event_id, None)
            self._remember()
            return
        # Strictly the bytes that were written: a key that stands there twice would say one thing to us, another to
        # the next reader.
        tail = b',"hash":"' + said.pop("hash").encode() + b'"'
        if "personal" in said:
            tail += b',"personal":' + orjson.dumps(said.pop("personal"))
        sealed = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        if sealed[:-1] + tail + b"}" != line.rstrip(b"\r\n") or said.get("tenant_id") != self._told["tenant_id"]:
            check.report(ProblemKind.CHANGED, seq, event_id, "this line is not as it was written")
        check.take(seq, stored, event_id, sealed)
        self._remember()

    def _take_last(self, said: dict[str, Any]) -> None:
        if "end" in said:
            self._is_ended = True
            events, digest = int(said["end"]["events"]), str(said["end"]["hash"])
            check = self._started()
            if events != check.verified or (check.hash is not None and digest != check.hash.hex()):
                what = "the last line speaks of another number of events, or of another end"
                check.report(ProblemKind.CUT_OFF, check.seq, "", what)
        else:
            self._mark = said["checkpoint"]

    def _finish_mark(self, mark: dict[str, Any]) -> None:
        """Judge the checkpoint that the export brings."""
        check = self._started()
        try:
            statement = statement_of(mark["statement"])
            head = ChainHead(TenantId(UUID(self.verdict.tenant)), int(mark["seq"]), bytes.fromhex(mark["hash"]))
            proof = [bytes.fromhex(one) for one in mark["proof"]]
            index, signature = int(mark["leaf_index"]), bytes.fromhex(mark["signature"])
        except (BadLine, ValueError, KeyError, TypeError):
            check.report(ProblemKind.CHECKPOINT, 0, "", "the checkpoint in the export cannot be read")
            return
        key = self._keys.get(statement.key_id)
        wrong = ""
        if key is None:
            wrong = f"is signed by a key that is not known, {statement.key_id}"
        elif not key.is_signed(statement, signature):
            wrong = "has a signature that does not hold"
        elif root_of(head.leaf(), index, statement.heads, proof) != statement.root:
            wrong = "has a proof that does not lead to its root"
        elif head.seq != self._told.get("checkpoint_seq") or head.hash != self._marked_hash:
            check.report(ProblemKind.CUT_OFF, head.seq, "", f"checkpoint {statement.number} vouches for another hash")
            return
        if wrong:
            check.report(ProblemKind.CHECKPOINT, 0, "", f"checkpoint {statement.number} in the export {wrong}")
        else:
            self._vouch(statement.number, statement.time, head.seq)

    def _remember(self) -> None:
        check = self._started()
        if check.seq == self._told.get("checkpoint_seq"):
            self._marked_hash = check.hash

    def _vouch(self, number: int, time: str, seq: int) -> None:
        if self.verdict.checkpoint is None or self.verdict.checkpoint[0] < number:
            self.verdict.checkpoint = number, time
        self.verdict.vouched_seq = max(self.verdict.vouched_seq, seq)

    def _started(self) -> ChainCheck:
        if self._check is None:
            raise NotAnExport("the file is empty")
        return self._check
