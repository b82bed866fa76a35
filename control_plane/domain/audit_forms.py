"""The forms of an export: JSON lines that can be verified offline, CSV without formulas, OCSF."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

from control_plane.domain import ocsf
from control_plane.domain.audit import ActorType, AuditQuery, Outcome
from control_plane.domain.audit_chain import Content, Link, canonical, canonical_missing, time_text
from control_plane.domain.checkpoints import ChainHead, Statement
from control_plane.domain.ids import TenantId

EXPORT_VERSION = 1
_NEWLINE = orjson.OPT_APPEND_NEWLINE
CSV_COLUMNS = (
    "seq", "time", "actor_type", "actor_id", "actor_address", "actor_agent", "action", "resource_type", "resource_id",
    "outcome", "reason", "request_id", "trace_id", "details", "personal", "id", "tenant_id", "subject_id", "commitment",
    "hash",
)  # fmt: skip
# What makes a spreadsheet run a cell (OWASP, CSV injection), with the full-width forms that some fold.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Form(IntEnum):
    """The form of an export; the values are those of the wire."""

    JSONL = 1
    CSV = 2
    OCSF = 3


class Row(NamedTuple):
    """One event of an export; ``personal`` is JSON text, "" if there is none or it was not asked for."""

    link: Link
    personal: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of which chain an export is: what its first line says."""

    tenant: TenantId
    first_seq: int
    previous_hash: bytes
    last_seq: int
    # Whether it has every event from first to last: only then can it be verified.
    is_complete: bool
    # Whether it was asked for up to the end of the chain: then a checkpoint must not know of more.
    is_to_end: bool
    # Of which link the checkpoint at the end of the export speaks: the reader has to remember its hash.
    checkpoint_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a checkpoint says of the chain, with the way to the signed root."""

    head: ChainHead
    index: int
    proof: Sequence[bytes]
    statement: Statement
    signature: bytes


def jsonl_first(stretch: Stretch) -> bytes:
    """Return the first line of an export as JSON lines."""
    told = {
        "export": {
            "checkpoint_seq": stretch.checkpoint_seq,
            "complete": stretch.is_complete,
            "first_seq": stretch.first_seq,
            "last_seq": stretch.last_seq,
            "previous_hash": stretch.previous_hash.hex(),
            "tenant_id": str(stretch.tenant),
            "to_end": stretch.is_to_end,
            "version": EXPORT_VERSION,
        }
    }
    return orjson.dumps(told, option=_NEWLINE)


def jsonl_line(tenant: TenantId, row: Row) -> bytes:
    """Return an event's line: its canonical bytes, with the hash and the personal values behind them."""
    link = row.link
    if link.content is None:
        body = canonical_missing(link.seq, tenant, link.event_id)
    else:
        body = canonical(link.seq, link.content)
    personal = b',"personal":' + orjson.dumps(orjson.loads(row.personal)) if row.personal else b""
    return body[:-1] + b',"hash":"' + link.hash.hex().encode() + b'"' + personal + b"}\n"


def jsonl_last(vouched: Vouched | None, events: int, last: bytes) -> bytes:
    """Return the last lines: the newest checkpoint that speaks of an exported event, and that this is the end."""
    lines = b""
    if vouched is not None:
        told = {
            "checkpoint": {
                "hash": vouched.head.hash.hex(),
                "leaf_index": vouched.index,
                "proof": [one.hex() for one in vouched.proof],
                "seq": vouched.head.seq,
                "signature": vouched.signature.hex(),
                "statement": orjson.loads(vouched.statement.canonical()),
            }
        }
        lines = orjson.dumps(told, option=_NEWLINE)
    return lines + orjson.dumps({"end": {"events": events, "hash": last.hex()}}, option=_NEWLINE)


def csv_first() -> bytes:
    """Return the header line."""
    return csv_lines([CSV_COLUMNS])


def csv_row(row: Row) -> list[str]:
    """Return an event's cells."""
    link, content = row.link, row.link.content
    if content is None:
        return []
    cells: dict[str, Any] = {
        "seq": link.seq,
        "time": content.time,
        "actor_type": _name(ActorType, content.actor_type),
        "outcome": _name(Outcome, content.outcome),
        "personal": row.personal,
        "tenant_id": content.tenant,
        "subject_id": content.subject or "",
        "commitment": content.commitment.hex() if content.commitment else "",
        "hash": link.hash.hex(),
    }
    return [str(cells[name] if name in cells else getattr(content, name)) for name in CSV_COLUMNS]


def csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as RFC 4180 writes them; no cell begins a formula."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, lineterminator="\r\n")
    writer.writerows([without_formula(cell) for cell in row] for row in rows if row)
    return page.getvalue().encode()


def without_formula(cell: str) -> str:
    """Return ``cell`` with an apostrophe before what a spreadsheet would take for a formula."""
    return "'" + cell if cell.lstrip(" ").startswith(FORMULA_STARTS) else cell


def ocsf_line(row: Row) -> bytes:
    """Return an event's line as OCSF; nothing if the event is not there."""
    if row.link.content is None:
        return b""
    return orjson.dumps(ocsf.event(row.link, row.link.content, row.personal), option=_NEWLINE)


def render(form: Form, tenant: TenantId, rows: Iterable[Row]) -> Iterable[bytes]:
    """Yield the lines of events in ``form``."""
    for row in rows:
        match form:
            case Form.JSONL:
                yield jsonl_line(tenant, row)
            case Form.CSV:
                yield csv_lines([csv_row(row)])
            case Form.OCSF:
                yield ocsf_line(row)


def is_partial(query: AuditQuery) -> bool:
    """Tell whether ``query`` has conditions besides times: then what it selects is no stretch of the chain."""
    asked = (query.actor_type, query.actor_id, query.action, query.resource_type, query.resource_id)
    return any(one is not None for one in (*asked, query.outcome, query.request_id, query.trace_id))


def matches(query: AuditQuery, content: Content) -> bool:
    """Tell whether an event meets every condition of ``query`` besides the times."""
    exact = (
        (query.actor_type, content.actor_type),
        (query.actor_id, content.actor_id),
        (query.resource_type, content.resource_type),
        (query.resource_id, content.resource_id),
        (query.outcome, content.outcome),
        (query.request_id, content.request_id),
        (query.trace_id, content.trace_id),
    )
    if any(wanted is not None and wanted != found for wanted, found in exact):
        return False
    if query.action is None:
        return True
    if query.action.endswith(".*"):
        return content.action.startswith(query.action[:-1])
    return content.action == query.action


def is_within(query: AuditQuery, content: Content) -> bool:
    """Tell whether an event lies in the times of ``query``."""
    # Text of one form and one length orders as the times do.
    if query.start is not None and content.time < time_text(query.start):
        return False
    return query.end is None or content.time < time_text(query.end)


def _name(kind: type[ActorType] | type[Outcome], number: int) -> str:
    try:
        return kind(number).name.lower()
    except ValueError:
        return str(number)
