"""Exports a tenant's trail in the order of its chain, piece by piece: memory does not grow with the trail."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from control_plane.domain.audit import AuditQuery
from control_plane.domain.audit_chain import Link, empty_head, readable
from control_plane.domain.audit_forms import (
    Form,
    Row,
    Stretch,
    Vouched,
    csv_first,
    is_partial,
    is_within,
    jsonl_first,
    jsonl_last,
    matches,
    render,
)
from control_plane.domain.ids import TenantId, uuid7
from control_plane.runtime.clock import Clock
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.trail import Trail
from control_plane.storage import audit, audit_chain, audit_checkpoints, tenants
from control_plane.storage.audit import ID_SLACK
from control_plane.storage.engine import Storage, Tx

PAGE = 1_000
PIECE_BYTES = 256 * 1024
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be exported, and how."""

    tenant: TenantId
    query: AuditQuery
    form: Form
    with_personal: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of the file, whole lines, and how many events there were so far."""

    data: bytes
    events: int


class AuditExporter:
    """The use case."""

    def __init__(self, storage: Storage, trail: Trail, clock: Clock) -> None:
        self._storage, self._trail, self._scribe = storage, trail, Scribe(clock)

    async def export(self, caller: Caller, order: Order) -> AsyncGenerator[Piece]:
        """Yield the file; NotFound if there is no such tenant. That it was taken is in the trail before it begins.

        Events that wait for their seal are not in it. With times alone it is the stretch of the chain from the first to
        the last event of that time: a few others that were sealed among them may be in it.
        """
        stretch, vouched = await self._stretch(order)
        await self._write_down(caller, order, stretch)
        yield Piece(_first(order.form, stretch), 0)
        seq, events, last = stretch.first_seq - 1, 0, stretch.previous_hash
        while seq < stretch.last_seq:
            rows, ends = await self._rows(order, stretch, seq)
            if ends is None:
                break
            seq, last = ends.seq, ends.hash
            pieces = await asyncio.to_thread(_pieces, order.form, order.tenant, rows)
            for number, piece in enumerate(pieces, 1):
                # Each piece but the last is of the size that was asked for: it counts when the page is through.
                yield Piece(piece, events + (len(rows) if number == len(pieces) else 0))
            events += len(rows)
        if order.form is Form.JSONL:
            yield Piece(jsonl_last(vouched, events, last), events)

    async def _stretch(self, order: Order) -> tuple[Stretch, Vouched | None]:
        """Return which links are meant, and the checkpoint that vouches for the most of them."""
        tenant, query = order.tenant, order.query
        async with self._storage.begin(tenant, read_only=True, timeout_s=TIMEOUT_S) as tx:
            await tenants.require_owner(tx, tenant)
            head = await audit_chain.head(tx) or empty_head(tenant)
            first, last = head.first_seq, head.seq
            if query.start is not None:
                found = await audit_chain.first_of(tx, query.start, _id_at(query.start.timestamp(), -ID_SLACK))
                first = last + 1 if found is None else max(first, found)
            if query.end is not None:
                found = await audit_chain.last_of(tx, query.end, _id_at(query.end.timestamp(), ID_SLACK))
                last = first - 1 if found is None else min(last, found)
            last = max(last, first - 1)
            previous = head.first_hash if first == head.first_seq else await _hash_at(tx, first - 1)
            row = await audit_checkpoints.newest_in(tx, first - 1, last)
        is_complete = not is_partial(query)
        vouched = None
        if row is not None and is_complete:
            vouched = Vouched(row.head, row.index, row.proof, row.statement, row.signature)
        marked = None if vouched is None else vouched.head.seq
        return Stretch(tenant, first, previous, last, is_complete, query.end is None, marked), vouched

    async def _rows(self, order: Order, stretch: Stretch, after: int) -> tuple[list[Row], Link | None]:
        """Return what is wanted of the next page, and where the page ends; None: there is no more."""
        async with self._storage.begin(order.tenant, read_only=True, timeout_s=TIMEOUT_S) as tx:
            size = min(PAGE, stretch.last_seq - after)
            links = await audit_chain.links(tx, after, size, with_personal=order.with_personal)
            if not links:
                return [], None
            wanted = links if stretch.is_complete else [link for link in links if _is_wanted(order.query, link)]
            personal = await self._personal(tx, wanted) if order.with_personal else {}
        return [Row(link, personal.get(link.seq, "")) for link in wanted], links[-1]

    async def _personal(self, tx: Tx, links: list[Link]) -> dict[int, str]:
        events = readable(link for link in links if link.content is not None and link.content.personal is not None)
        return {one.event.seq: one.personal for one in await self._trail.entries(tx, events, with_personal=True)}

    async def _write_down(self, caller: Caller, order: Order, stretch: Stretch) -> None:
        details = {
            "format": order.form.name.lower(),
            "include_personal": order.with_personal,
            "complete": stretch.is_complete,
            "first_seq": stretch.first_seq,
            "last_seq": stretch.last_seq,
        }
        deed = Deed("audit.export", "audit", str(order.tenant), details)
        async with self._storage.begin(order.tenant) as tx:
            await audit.append(tx, [self._scribe.event(order.tenant, caller, deed)])


def _first(form: Form, stretch: Stretch) -> bytes:
    match form:
        case Form.JSONL:
            return jsonl_first(stretch)
        case Form.CSV:
            return csv_first()
        case Form.OCSF:
            return b""


def _pieces(form: Form, tenant: TenantId, rows: Iterable[Row]) -> list[bytes]:
    """Return the lines of one page, joined to pieces that are sent as one message each."""
    pieces, lines, size = [], [], 0
    for line in render(form, tenant, rows):
        lines.append(line)
        size += len(line)
        if size >= PIECE_BYTES:
            pieces.append(b"".join(lines))
            lines, size = [], 0
    return [*pieces, b"".join(lines)] if lines else pieces


def _is_wanted(query: AuditQuery, link: Link) -> bool:
    return link.content is not None and matches(query, link.content) and is_within(query, link.content)


async def _hash_at(tx: Tx, seq: int) -> bytes:
    found = await audit_chain.links(tx, seq - 1, 1)
    # A link that is not there: verification says so, and the export's own first line cannot.
    return found[0].hash if found and found[0].seq == seq else b""


def _id_at(timestamp: float, slack: timedelta) -> UUID:
    return uuid7(max(0, round((timestamp + slack.total_seconds()) * 1000)), bytes(10))
