"""The PATCH examples of RFC 7644 section 3.5.2, as facts."""

from typing import Any

from control_plane.scim.members import Add, MemberOp, Remove, RemoveAll, Replace
from tests.unit.scim.samples import group, patch_group, patch_user, user

BABS = "2819c223-7f76-453a-919d-413861904646"
JAMES = "08e1d05d-121c-4561-8b96-473d93df9210"
BABS_MEMBER = {"display": "Babs Jensen", "$ref": f"https://example.com/v2/Users/{BABS}", "value": BABS}
JAMES_MEMBER = {"display": "James Smith", "$ref": f"https://example.com/v2/Users/{JAMES}", "value": JAMES}
WORK_MAIL = {"value": "bjensen@example.com", "type": "work"}
HOME_MAIL = {"value": "babs@jensen.org", "type": "home"}


def _members(*items: dict[str, Any]) -> list[MemberOp]:
    return patch_group(*items).members


def test_add_a_member() -> None:
    assert _members({"op": "add", "path": "members", "value": [BABS_MEMBER]}) == [Add((BABS,))]


def test_add_without_a_path() -> None:
    mails = [{"value": "babs@jensen.org", "type": "home"}]
    # "nickname" is the RFC's own spelling of nickName here.
    result = patch_user(user(emails=[WORK_MAIL]), {"op": "add", "value": {"emails": mails, "nickname": "Babs"}})
    assert result.document == user(emails=[WORK_MAIL, HOME_MAIL], nickName="Babs")


def test_remove_a_single_member() -> None:
    assert _members({"op": "remove", "path": f'members[value eq "{BABS}"]'}) == [Remove((BABS,))]


def test_remove_all_members() -> None:
    assert _members({"op": "remove", "path": "members"}) == [RemoveAll()]


def test_remove_by_a_complex_selection() -> None:
    other = {"value": "babs@jensen.org", "type": "work"}
    path = 'emails[type eq "work" and value ew "example.com"]'
    assert patch_user(user(emails=[WORK_MAIL, other]), {"op": "remove", "path": path}).document == user(emails=[other])


def test_remove_and_add_a_member() -> None:
    assert _members(
        {"op": "remove", "path": f'members[value eq "{BABS}"]'},
        {"op": "add", "path": "members", "value": [JAMES_MEMBER]},
    ) == [Remove((BABS,)), Add((JAMES,))]


def test_replace_all_members() -> None:
    item = {"op": "replace", "path": "members", "value": [BABS_MEMBER, JAMES_MEMBER]}
    assert _members(item) == [Replace((BABS, JAMES))]
    assert patch_group(item).document == group()


def test_replace_the_work_address() -> None:
    home = {"type": "home", "locality": "Elsewhere"}
    new = {
        "type": "work",
        "streetAddress": "911 Universal City Plaza",
        "locality": "Hollywood",
        "region": "CA",
        "postalCode": "91608",
        "country": "US",
        "formatted": "911 Universal City Plaza\nHollywood, CA 91608 US",
        "primary": True,
    }
    before = user(addresses=[{"type": "work", "locality": "Hollywood", "primary": True, "region": "XX"}, home])
    result = patch_user(before, {"op": "replace", "path": 'addresses[type eq "work"]', "value": new})
    assert result.document == user(addresses=[new, home])


def test_replace_the_street_of_the_work_address() -> None:
    before = user(addresses=[{"type": "work", "streetAddress": "old", "country": "US"}])
    path = 'addresses[type eq "work"].streetAddress'
    result = patch_user(before, {"op": "replace", "path": path, "value": "1010 Broadway Ave"})
    assert result.document == user(addresses=[{"type": "work", "streetAddress": "1010 Broadway Ave", "country": "US"}])


def test_replace_several_attributes_without_a_path() -> None:
    mails = [{**WORK_MAIL, "primary": True}, HOME_MAIL]
    before = user(emails=[{"value": "old"}], nickName="B", title="kept")
    result = patch_user(before, {"op": "replace", "value": {"emails": mails, "nickname": "Babs"}})
    assert result.document == user(emails=mails, nickName="Babs", title="kept")
