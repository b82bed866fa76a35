"""Looks a resource up by name in a SCIM target, and believes nothing that the target's filter says."""

from typing import Any

from workers.connectors.base import Document, Permit, Rejected, TargetFailed
from workers.connectors.scim_http import ScimClient, checked_id, filter_query

PAGE_ROWS = 100
# A target that ignores filters is read page by page, up to this many rows; beyond them we cannot say "not there".
MAX_ROWS = 10_000


async def search(
    client: ScimClient, permit: Permit, path: str, attribute: str, value: str, *, can_filter: bool
) -> list[Document]:
    """Return the resources whose ``attribute`` equals ``value`` without regard to case, each with an ``id``.

    Every row is checked here: a target that ignores the filter answers with everybody, and taking its first row would
    be an account takeover. The answer is complete, so that an empty one allows a create; Rejected if it cannot be.
    """
    found: dict[str, Document] = {}
    seen: set[str] = set()
    query = (filter_query(attribute, value) + "&") if can_filter else ""
    while True:
        answer = await client.request(permit, "GET", path, query=f"{query}startIndex={len(seen) + 1}&count={PAGE_ROWS}")
        total, rows = _page(answer.resource(), answer.request)
        before = len(seen)
        for row in rows:
            row_id = _text(row, "id")
            if not row_id:
                raise TargetFailed(f"{answer.request} was answered with a resource without an id")
            seen.add(row_id)
            if _text(row, attribute).casefold() == value.casefold():
                # Only of these: a stranger whose id cannot be kept is nobody's obstacle.
                found[checked_id(answer.request, row_id)] = row | {"id": row_id, "externalId": _text(row, "externalId")}
        if len(seen) >= total:
            return list(found.values())
        if len(seen) == before or len(seen) >= MAX_ROWS:
            raise Rejected(
                f"the target cannot be searched for {attribute}: it shows {total} rows for one name and only "
                f"{len(seen)} of them can be read"
            )


def _page(body: Document, request: str) -> tuple[int, list[Document]]:
    """Return how many rows match in all and those of this page (RFC 7644 section 3.4.2)."""
    spelled = {name.lower(): value for name, value in body.items()}
    total, rows = spelled.get("totalresults"), spelled.get("resources", [])
    if not isinstance(total, int) or not isinstance(rows, list | None):
        raise TargetFailed(f"{request} was not answered with a SCIM list")
    return total, [row for row in rows or [] if isinstance(row, dict)]


def _text(row: Document, attribute: str) -> str:
    """Return a string attribute of a row, its name in any spelling; "" if there is none."""
    value: Any = row.get(attribute)
    if value is None:
        value = next((row[name] for name in row if name.lower() == attribute.lower()), "")
    return value if isinstance(value, str) else ""
