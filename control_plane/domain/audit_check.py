"""Walks along a chain and says what is wrong with it and where: the same for a database and for an exported file."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from control_plane.domain.audit_chain import Head, Link, canonical, link_hash

MAX_PROBLEMS = 100


class ProblemKind(IntEnum):
    """What is wrong with a trail; the values are those of the wire."""

    CHANGED = 1
    MISSING = 2
    BROKEN_LINK = 3
    CUT_OFF = 4
    UNSEALED = 5
    CHECKPOINT = 6


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a trail, at ``seq`` of the chain (0: outside of it)."""

    kind: ProblemKind
    seq: int
    event_id: str
    description: str


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A link whose hash is not what its event gives: which of the two was changed, the next link tells."""

    seq: int
    event_id: str
    computed: bytes


class ChainCheck:
    """Takes the links of one chain in order and collects problems, the first ``MAX_PROBLEMS``.

    ``marks`` are hashes that somebody else vouches for, by seq (checkpoints): the walk compares them as it passes.
    """

    def __init__(self, first_seq: int, first_hash: bytes, marks: dict[int, tuple[bytes, int]] | None = None) -> None:
        """``first_hash`` stands before the link ``first_seq``; ``marks``: seq -> hash, number of the checkpoint."""
        self.problems: list[Problem] = []
        self.verified = 0
        self.seq = first_seq - 1
        # None behind a gap: whatever comes next is taken as it is.
        self.hash: bytes | None = first_hash
        self._marks = marks or {}
        self._doubt: _Doubt | None = None
        self._compare_mark()

    def feed(self, links: Iterable[Link]) -> None:
        """Take the next links."""
        for link in links:
            content = link.content
            self.take(link.seq, link.hash, link.event_id, None if content is None else canonical(link.seq, content))

    def take(self, seq: int, stored: bytes, event_id: str, sealed: bytes | None) -> None:
        """Take one link and the canonical bytes of its event, None if that is not there."""
        if seq <= self.seq:
            self.report(ProblemKind.BROKEN_LINK, seq, event_id, "this link comes a second time")
            return
        if seq != self.seq + 1:
            self._gap(seq)
        if sealed is None:
            self._settle(trust_stored=True)
            self.report(ProblemKind.MISSING, seq, event_id, "this event was sealed and is not there any more")
        elif self.hash is None or link_hash(self.hash, sealed) == stored:
            self._settle(trust_stored=True)
        elif self._doubt is not None and link_hash(self._doubt.computed, sealed) == stored:
            self._settle(trust_stored=False)
        else:
            self._settle(trust_stored=True)
            self._doubt = _Doubt(seq, event_id, link_hash(self.hash, sealed))
        # On with what is stored: one changed event is one problem, not one and all that follow.
        self.seq, self.hash = seq, stored
        self.verified += 1
        if seq in self._marks:
            self._compare_mark()

    def restart(self, first_seq: int, first_hash: bytes) -> None:
        """Go on at ``first_seq``: what is before it expired meanwhile."""
        self._doubt = None
        self.seq, self.hash = first_seq - 1, first_hash

    def finish(self, head: Head) -> None:
        """Compare the end with the head, and with what marks say beyond it."""
        computed = self._doubt.computed if self._doubt is not None else None
        if self.seq == head.seq and head.hash == computed:
            # The head has what the last event gives: it is the link between that was changed.
            self._settle(trust_stored=False)
        elif self.seq == head.seq and self.hash is not None and head.hash != self.hash:
            self._settle(trust_stored=True)
            self.report(ProblemKind.BROKEN_LINK, head.seq, "", "the head has another hash than the last link")
        elif self.seq < head.seq:
            self._settle(trust_stored=True)
            what = f"the chain ends at {self.seq}, the head says {head.seq}"
            self.report(ProblemKind.CUT_OFF, self.seq + 1, "", what)
        self.finish_marks()

    def finish_marks(self) -> None:
        """Say which checkpoints know of more than there is."""
        self._settle(trust_stored=True)
        beyond = [(seq, number) for seq, (_, number) in self._marks.items() if seq > self.seq]
        if beyond:
            seq, number = max(beyond)
            what = f"the chain ends at {self.seq}, checkpoint {number} says {seq}"
            self.report(ProblemKind.CUT_OFF, self.seq + 1, "", what)

    def report(self, kind: ProblemKind, seq: int, event_id: str, description: str) -> None:
        """Note a problem, unless there are ``MAX_PROBLEMS`` already."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(kind, seq, event_id, description))

    def _gap(self, seq: int) -> None:
        self._settle(trust_stored=True)
        first, last = self.seq + 1, seq - 1
        self.hash = None
        which = f"link {first} is" if first == last else f"links {first} to {last} are"
        self.report(ProblemKind.BROKEN_LINK, first, "", f"{which} not there")

    def _settle(self, *, trust_stored: bool) -> None:
        """Decide about the link in doubt, whether it was the event that was changed or the hash."""
        doubt, self._doubt = self._doubt, None
        if doubt is None:
            return
        if trust_stored:
            what = "this event is not what was sealed, or it was put behind another one than it was sealed behind"
            self.report(ProblemKind.CHANGED, doubt.seq, doubt.event_id, what)
        else:
            what = "this link's hash was changed: the event and the next link agree with another one"
            self.report(ProblemKind.BROKEN_LINK, doubt.seq, doubt.event_id, what)

    def _compare_mark(self) -> None:
        mark = self._marks.get(self.seq)
        if mark is not None and mark[0] != self.hash:
            what = (
                f"checkpoint {mark[1]} vouches for another hash here: the chain was rewritten at or before this place"
            )
            self.report(ProblemKind.CUT_OFF, self.seq, "", what)
