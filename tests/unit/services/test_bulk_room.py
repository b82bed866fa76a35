"""Which bulk operations may share a transaction: selections of members by what they are may not."""

from typing import Any

import pytest

from control_plane.scim.bulk import BulkOperation, plan
from control_plane.services.bulk_room import Room, selects

ID = "2819c223-7f76-453a-919d-413861904646"
OTHER = "2819c223-7f76-453a-919d-413861904647"


def operation(path: str, resource_id: str = ID, kind: str = "Groups") -> BulkOperation:
    data: Any = {"Operations": [{"op": "remove", "path": path}]}
    return plan({"Operations": [{"method": "PATCH", "path": f"/{kind}/{resource_id}", "data": data}]}).operations[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("members", False),
        (f'members[value eq "{ID}"]', False),
        (f'Members[ value  EQ "{ID}" or value eq "bulkId:a" ]', False),
        (f'urn:ietf:params:scim:schemas:core:2.0:Group:members[value eq "{ID}"]', False),
        ('members[display eq "x"]', True),
        ('members [display eq "x"]', True),
        ("MEMBERS[not (value pr)]", True),
        (f'members[value ne "{ID}"]', True),
        (f'members[value eq "{ID}" and type eq "User"]', True),
        ('urn:ietf:params:scim:schemas:core:2.0:Group:members[type eq "User"]', True),
    ],
)
def test_members_selected_by_anything_but_their_id(path: str, expected: bool) -> None:
    assert selects(operation(path)) is expected
    # Users have no members.
    assert not selects(operation(path, kind="Users"))


def test_a_selection_has_a_transaction_of_its_own() -> None:
    by_id, by_type = operation(f'members[value eq "{ID}"]'), operation('members[type eq "User"]', OTHER)
    room = Room(is_strict=False)
    assert (room.takes(by_id, ID), room.takes(by_type, OTHER)) == (True, False)
    room = Room(is_strict=False)
    assert (room.takes(by_type, OTHER), room.takes(by_id, ID)) == (True, False)
