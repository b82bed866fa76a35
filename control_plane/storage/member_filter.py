"""Removes the members that a filter selects: ``remove members[type eq "Group"]`` (RFC 7644 section 3.5.2.2)."""

from sqlalchemy import FromClause, delete, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from control_plane.domain.ids import ResourceId
from control_plane.scim.filters import Filter
from control_plane.scim.registry import MEMBERS, default_registry
from control_plane.storage.engine import Tx
from control_plane.storage.filter_rows import VALUE, Neighbours, member_row
from control_plane.storage.filter_sql import element_condition
from control_plane.storage.memberships import MemberWrite
from control_plane.storage.predicates import NEVER
from control_plane.storage.query import bounded
from control_plane.storage.schema import memberships, resources

TOO_SLOW = "selecting among so many members takes too long: remove them by their ids, as in the operation's value"


async def remove_selected(tx: Tx, group: ResourceId, selection: Filter, base: str) -> MemberWrite:
    """Remove the members that ``selection`` matches, as they are shown with ``base`` before their ``$ref``.

    Lock the group first, touch it afterwards, as for every change of members (memberships.py). InvalidFilter if the
    selection cannot be asked of members; TooMany when the statement timeout of ``tx`` ends it.
    """
    # Of the core schema, which is the same for every tenant.
    attribute = default_registry().model("Group").attributes[MEMBERS]
    held = memberships.alias()
    resource = Neighbours(tx.tenant, base, resources).resource_of(held.c.member_id)
    asked = set[str]()
    wanted = element_condition(selection, attribute, member_row(base, held.c.member_id, resource, asked))
    if wanted is NEVER:
        return MemberWrite(0, ())
    tables: FromClause = held if asked <= {VALUE} else held.join(resource, true())
    of_group = (held.c.group_id == group) & (held.c.tenant_id == tx.tenant)
    selected = select(held.c.member_id).select_from(tables).where(of_group, wanted)
    columns = memberships.c
    # An array, not IN: that is a join to the planner, which compares all with all when it expects a small group.
    is_selected = columns.member_id == func.any(func.array(selected.scalar_subquery(), type_=ARRAY(UUID)))
    gone = delete(memberships).where(columns.group_id == group, columns.tenant_id == tx.tenant, is_selected)
    with bounded(TOO_SLOW):
        result = await tx.execute(gone)
    return MemberWrite(result.rowcount, (), result.rowcount)
