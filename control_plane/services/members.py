"""Edits a group's members without ever loading them: the work is proportional to the change."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.ids import ResourceId
from control_plane.scim.members import Add, MemberOp, Remove, RemoveAll, RemoveSelected, Replace
from control_plane.storage import memberships
from control_plane.storage.engine import Tx
from control_plane.storage.member_filter import remove_selected
from control_plane.storage.memberships import MemberWrite

# Unknown ids that an audit event names; of more, and of what does not look like an id, the number is given. Somebody's
# address or a megabyte of text has no place in the trail.
NAMED_UNKNOWN = 20
IS_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class MemberEdit:
    """What member operations did: how many rows changed, and which ids no resource of this tenant has."""

    changed: int = 0
    unknown: tuple[str, ...] = ()
    # How many of the changed rows are gone; the others came.
    removed: int = 0

    def details(self) -> dict[str, object]:
        """Return what the audit event says."""
        counts = {"members_added": self.changed - self.removed, "members_removed": self.removed}
        said: dict[str, object] = {name: count for name, count in counts.items() if count}
        if self.unknown:
            named = [one for one in self.unknown if IS_ID.fullmatch(one)]
            said["unknown_members"] = named[:NAMED_UNKNOWN]
            said["unknown_members_count"] = len(self.unknown)
        return said


def edited(*writes: MemberWrite) -> MemberEdit:
    """Return what ``writes`` did together."""
    unknown = dict.fromkeys(str(one) for write in writes for one in write.unknown)
    changed, removed = sum(write.changed for write in writes), sum(write.removed for write in writes)
    return MemberEdit(changed, tuple(unknown), removed)


def named_ids(operations: Sequence[MemberOp]) -> list[str]:
    """Return the ids that ``operations`` would make members, once each, in order."""
    return list(dict.fromkeys(one for op in operations if isinstance(op, Add | Replace) for one in op.ids))


async def edit_members(tx: Tx, group: ResourceId, operations: Sequence[MemberOp], base: str) -> MemberEdit:
    """Apply ``operations`` in order. Unknown ids are skipped and named: IdPs do not retry a refused push.

    ``base`` is the URL before "/Users" in ``$ref``, which a selection may ask for.
    """
    writes = []
    for operation in operations:
        match operation:
            case Add(ids):
                write = await memberships.add(tx, group, ids)
            case Replace(ids):
                write = await memberships.replace(tx, group, ids)
            case Remove(ids):
                write = await memberships.remove(tx, group, ids)
            case RemoveSelected(selection):
                write = await remove_selected(tx, group, selection, base)
            case RemoveAll():
                write = await memberships.clear(tx, group)
        writes.append(write)
    return edited(*writes)
