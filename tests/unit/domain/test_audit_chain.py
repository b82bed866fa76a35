"""The canonical form and the walk along a chain; docs/audit.md says the same."""

import hashlib
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from control_plane.domain.audit import Actor, ActorType, AuditEvent, Outcome
from control_plane.domain.audit_chain import (
    Content,
    Link,
    canonical,
    content_of,
    event_of,
    genesis,
    link_hash,
    readable,
    time_text,
)
from control_plane.domain.audit_check import MAX_PROBLEMS, ChainCheck, ProblemKind
from control_plane.domain.ids import EventId, ResourceId, TenantId

DOC = (Path(__file__).resolve().parents[3] / "docs" / "audit.md").read_text()
TENANT = TenantId(UUID("0199f0c4-6a0e-7c55-9a9e-3d0b5a1c2f77"))
EVENT = AuditEvent(
    id=EventId(UUID("0199f0c5-0b1c-7d2e-8f3a-4b5c6d7e8f90")),
    tenant=TENANT,
    at=datetime(2026, 11, 24, 10, tzinfo=UTC),
    actor=Actor(ActorType.TOKEN, "k3y1dk3y1d12", "192.0.2.17", "Okta SCIM Client 1.0.0"),
    action="user.patch",
    resource_type="user",
    resource_id="0199f0c4-ffff-7aaa-8bbb-000000000001",
    request_id="8d7f6c",
    details={"version": 2, "attributes": ["active", "name.familyName"]},
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    subject=ResourceId(UUID("0199f0c4-ffff-7aaa-8bbb-000000000001")),
    commitment=b"\xab" * 32,
)
CONTENT = content_of(EVENT)


def block(name: str) -> str:
    """The fenced block of that name in docs/audit.md."""
    found = re.search(rf"```{name}\n(.*?)\n```", DOC, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_worked_example_is_right() -> None:
    start = hashlib.sha256(b"muster audit chain v1|" + str(TENANT).encode()).hexdigest()
    assert start == genesis(TENANT).hex() == block("genesis")
    assert canonical(1, CONTENT).decode() == block("canonical")
    # With nothing of ours but the words of the page.
    parsed = orjson.loads(block("canonical"))
    again = orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)
    assert hashlib.sha256(bytes.fromhex(start) + again).hexdigest() == block("link")
    assert link_hash(genesis(TENANT), canonical(1, CONTENT)).hex() == block("link")


def test_every_key_of_the_form_is_in_the_page() -> None:
    section = DOC.split("## The canonical form")[1].split("### ")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert told == orjson.loads(canonical(1, CONTENT)).keys()


@pytest.mark.parametrize("name", [name for name in Content._fields if name != "personal"])
def test_every_field_is_hashed(name: str) -> None:
    other: dict[str, Any] = {
        "actor_type": 2,
        "outcome": 2,
        "details": '{"version": 3}',
        "commitment": None,
        "subject": None,
    }
    changed = CONTENT._replace(**{name: other.get(name, "other")})
    assert canonical(1, changed) != canonical(1, CONTENT)


def test_the_place_is_hashed_and_personal_values_are_not() -> None:
    assert canonical(2, CONTENT) != canonical(1, CONTENT)
    assert canonical(1, CONTENT._replace(personal=b"sealed")) == canonical(1, CONTENT)


def test_how_a_database_writes_json_makes_no_difference() -> None:
    spaced = CONTENT._replace(details='{ "attributes" : ["active","name.familyName"],  "version":2 }')
    assert canonical(1, spaced) == canonical(1, CONTENT)


@pytest.mark.parametrize("details", ["{", '{"n": 1e999}', "[1", "nonsense", "[" * 300 + "]" * 300])
def test_details_that_cannot_be_read_still_have_a_form(details: str) -> None:
    assert orjson.loads(canonical(1, CONTENT._replace(details=details)))["details"] == details


def test_unknown_numbers_stay_apart() -> None:
    forms = {canonical(1, CONTENT._replace(actor_type=number)) for number in (0, 7, 99)}
    assert len(forms) == 3


def test_a_time_is_utc_with_six_digits() -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=2)))
    assert time_text(at) == "2026-11-24T10:00:00.000000Z"


def test_content_becomes_the_event_again() -> None:
    link = Link(4, b"h", str(EVENT.id), CONTENT)
    again = event_of(link)
    assert (again.seq, again.hash, again.outcome) == (4, b"h", Outcome.SUCCESS)
    assert content_of(again) == CONTENT


def test_what_a_forged_row_says_is_no_event() -> None:
    good = Link(1, b"", "", CONTENT)
    forged = [Link(1, b"", "", CONTENT._replace(**change)) for change in ({"outcome": 9}, {"time": "infinity"})]
    assert [one.id for one in readable([*forged, Link(1, b"", "", None), good])] == [EVENT.id]


def chain(count: int) -> list[Link]:
    """A whole chain."""
    previous, links = genesis(TENANT), []
    for seq in range(1, count + 1):
        content = CONTENT._replace(id=f"event-{seq}")
        previous = link_hash(previous, canonical(seq, content))
        links.append(Link(seq, previous, content.id, content))
    return links


def problems(links: list[Link], marks: dict[int, tuple[bytes, int]] | None = None) -> list[tuple[ProblemKind, int]]:
    check = ChainCheck(1, genesis(TENANT), marks)
    check.feed(links)
    check.finish_marks()
    return [(one.kind, one.seq) for one in check.problems]


def test_a_whole_chain_has_no_problem() -> None:
    links = chain(5)
    assert problems(links, {3: (links[2].hash, 1), 5: (links[4].hash, 2)}) == []


def test_one_changed_event_is_one_problem() -> None:
    links = chain(5)
    links[2] = Link(3, links[2].hash, "event-3", CONTENT)
    assert problems(links) == [(ProblemKind.CHANGED, 3)]


def test_a_changed_hash_is_told_from_a_changed_event() -> None:
    links = chain(5)
    links[2] = Link(3, b"x" * 32, "event-3", links[2].content)
    assert problems(links) == [(ProblemKind.BROKEN_LINK, 3)]


def test_behind_a_gap_the_walk_goes_on() -> None:
    links = chain(6)
    links[4] = Link(5, links[4].hash, "event-5", CONTENT)
    assert problems([links[0], *links[2:]]) == [(ProblemKind.BROKEN_LINK, 2), (ProblemKind.CHANGED, 5)]


def test_a_link_that_comes_twice_is_broken() -> None:
    links = chain(3)
    assert problems([*links, links[1]]) == [(ProblemKind.BROKEN_LINK, 2)]


def test_what_a_mark_knows_more_is_cut_off() -> None:
    assert problems(chain(3), {7: (b"x", 4)}) == [(ProblemKind.CUT_OFF, 4)]


def test_a_hash_that_a_mark_denies_is_cut_off() -> None:
    assert problems(chain(3), {2: (b"x", 4)}) == [(ProblemKind.CUT_OFF, 2)]


def test_problems_have_a_limit() -> None:
    links = [Link(link.seq, link.hash, link.event_id, None) for link in chain(MAX_PROBLEMS + 50)]
    assert len(problems(links)) == MAX_PROBLEMS
