"""Edits a group's members without ever loading them: the work is proportional to the change."""

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.ids import ResourceId
from control_plane.scim.members import Add, MemberOp, Remove, RemoveAll, Replace
from control_plane.storage import memberships
from control_plane.storage.engine import Tx

# Unknown ids that an audit event names; of more, the number is given.
NAMED_UNKNOWN = 20


@dataclass(frozen=True, slots=True)
class MemberEdit:
    """What member operations did: how many rows changed, and which ids no resource of this tenant has."""

    changed: int = 0
    unknown: tuple[str, ...] = ()

    def details(self) -> dict[str, object]:
        """Return what the audit event says."""
        said: dict[str, object] = {"members_changed": self.changed} if self.changed else {}
        if self.unknown:
            said["unknown_members"] = list(self.unknown[:NAMED_UNKNOWN])
            said["unknown_members_count"] = len(self.unknown)
        return said


async def edit_members(tx: Tx, group: ResourceId, operations: Sequence[MemberOp]) -> MemberEdit:
    """Apply ``operations`` in order. Unknown ids are skipped and named: IdPs do not retry a refused push."""
    changed = 0
    unknown: list[str] = []
    for operation in operations:
        match operation:
            case Add(ids):
                write = await memberships.add(tx, group, ids)
            case Replace(ids):
                write = await memberships.replace(tx, group, ids)
            case Remove(ids):
                write = await memberships.remove(tx, group, ids)
            case RemoveAll():
                write = await memberships.clear(tx, group)
        changed += write.changed
        unknown += [str(one) for one in write.unknown]
    return MemberEdit(changed, tuple(dict.fromkeys(unknown)))
