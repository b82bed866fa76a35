"""What the audit trail says of bulk operations that were refused. Those that took effect have their event with it."""

from collections.abc import Iterable, Iterator

from control_plane.domain.audit import AuditEvent
from control_plane.domain.ids import parse_resource_id
from control_plane.domain.resources import ResourceType
from control_plane.runtime.clock import Clock
from control_plane.scim.bulk import BulkOperation, Method
from control_plane.scim.errors import ScimError
from control_plane.services.caller import Deed, Scribe
from control_plane.services.refusal_text import scim_reason
from control_plane.services.writes import Scope

_NOUNS = {kind.scim_name: kind.noun for kind in ResourceType}
_VERBS = {Method.POST: "create", Method.PUT: "replace", Method.PATCH: "patch", Method.DELETE: "delete"}
# From here on it is not certain that nothing was done, or it was our fault.
UNDECIDED = 500


def refused(clock: Clock, scope: Scope, outcomes: Iterable[tuple[BulkOperation, ScimError]]) -> list[AuditEvent]:
    """Return one event for each operation that was refused."""
    scribe = Scribe(clock)
    return [
        scribe.event(scope.tenant, scope.caller, _deed(operation), scim_reason(err, {"data": operation.data}))
        for operation, err in _decided(outcomes)
    ]


def _decided(outcomes: Iterable[tuple[BulkOperation, ScimError]]) -> Iterator[tuple[BulkOperation, ScimError]]:
    return ((operation, err) for operation, err in outcomes if err.status < UNDECIDED)


def _deed(operation: BulkOperation) -> Deed:
    noun = _NOUNS.get(operation.type_name, "resource")
    verb = _VERBS.get(Method(operation.method), "write") if operation.method in set(Method) else "write"
    named = operation.id if parse_resource_id(operation.id) is not None else ""
    return Deed(f"{noun}.{verb}", noun, named, {"rpc": "DirectoryService/BulkWrite"})
