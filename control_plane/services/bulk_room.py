"""Which bulk operations may share a transaction."""

import re
from dataclasses import dataclass, field

import orjson

from control_plane.domain.resources import ResourceType
from control_plane.scim.bulk import BulkOperation, Method

# How many JSON values the data of one transaction's operations has at most: the event loop waits while it is checked.
MAX_RUN_VALUES = 5_000
GROUP = ResourceType.GROUP.scim_name
# In JSON, where the quotes of a path are escaped.
_SELECTION = re.compile(r"members\s*\[", re.IGNORECASE)
_ID = r'value\s+eq\s+\\"[^"\\]*\\"'
_BY_ID = re.compile(rf"\s*{_ID}(\s+or\s+{_ID})*\s*\]", re.IGNORECASE)


@dataclass(slots=True)
class Room:
    """What a run holds so far, and whether one more operation may join it."""

    is_strict: bool
    kind: Method = Method.POST
    values: int = 0
    ids: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    selects: bool = False

    def takes(self, operation: BulkOperation, resource_id: str) -> bool:
        """Let an operation in if the run stays one of one kind, on distinct resources, within the limits.

        Where unknown members are refused (``is_strict``), a group's must exist before the run: writes.py checks them
        before it stores anything. Who selects members by what they are must see what the operations before it made.
        """
        kind, is_selecting = kind_of(operation), selects(operation)
        if self.ids and (
            kind != self.kind
            or resource_id in self.ids
            or self.values + operation.values > MAX_RUN_VALUES
            or (self.is_strict and operation.type_name == GROUP and self.created & operation.references)
            or self.selects
            or is_selecting
        ):
            return False
        self.kind, self.values = kind, self.values + operation.values
        self.ids.add(resource_id)
        if kind == Method.POST:
            self.created.add(operation.bulk_id)
        self.selects = is_selecting
        return True


def kind_of(operation: BulkOperation) -> Method:
    """Return under which method a run of such operations goes: PUT and PATCH are written alike."""
    return Method.PATCH if operation.method == Method.PUT else Method(operation.method)


def selects(operation: BulkOperation) -> bool:
    """Whether a PATCH has a path that selects members by something else than their ids."""
    if operation.method != Method.PATCH or operation.type_name != GROUP:
        return False
    text = orjson.dumps(operation.data).decode()
    return any(not _BY_ID.match(text, found.end()) for found in _SELECTION.finditer(text))
