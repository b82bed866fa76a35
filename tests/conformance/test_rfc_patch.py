"""RFC 7644 section 3.5.2: the examples of 3.5.2.1 to 3.5.2.3 over HTTP, and the rules between them."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.client import ENTERPRISE, PATCH_OP, USER, Idp, Json

WORK_MAIL = {"value": "bjensen@example.com", "type": "work"}
HOME_MAIL = {"value": "babs@jensen.org", "type": "home"}
HOME = {"type": "home", "streetAddress": "456 Hollywood Blvd", "locality": "Hollywood"}
WORK = {"type": "work", "streetAddress": "100 Universal City Plaza", "locality": "Hollywood"}


class Team:
    """Babs and James, and a group of some of them."""

    def __init__(self, idp: Idp, *in_group: str) -> None:
        self.babs = idp.user("bjensen", displayName="Babs Jensen")["id"]
        self.james = idp.user("jsmith", displayName="James Smith")["id"]
        self.path = "/Groups/" + idp.group("Tour Guides", *(getattr(self, name) for name in in_group))["id"]
        self._idp = idp

    def member(self, who: str) -> Json:
        """Return a member as the RFC's examples write it."""
        display = {"babs": "Babs Jensen", "james": "James Smith"}[who]
        value = getattr(self, who)
        return {"display": display, "$ref": f"https://example.com/v2/Users/{value}", "value": value}

    def members(self) -> set[str]:
        return self._idp.members(self.path.rpartition("/")[2])


def test_add_a_member_3_5_2_1(idp: Idp) -> None:
    team = Team(idp)
    answer = idp.patch(team.path, {"op": "add", "path": "members", "value": [team.member("babs")]})
    assert [one["value"] for one in answer["members"]] == [team.babs]
    assert answer["members"][0]["$ref"] == f"{idp.base}/Users/{team.babs}"


def test_add_to_a_user_without_a_path_3_5_2_1(idp: Idp) -> None:
    user = idp.user("bjensen", emails=[WORK_MAIL])
    # "nickname" is the RFC's own spelling of nickName here.
    operation = {"op": "add", "value": {"emails": [HOME_MAIL], "nickname": "Babs"}}
    changed = idp.patch(f"/Users/{user['id']}", operation)
    assert (changed["emails"], changed["nickName"]) == ([WORK_MAIL, HOME_MAIL], "Babs")


def test_remove_one_member_3_5_2_2(idp: Idp) -> None:
    team = Team(idp, "babs", "james")
    idp.patch(team.path, {"op": "remove", "path": f'members[value eq "{team.babs}"]'})
    assert team.members() == {team.james}


def test_remove_all_members_3_5_2_2(idp: Idp) -> None:
    team = Team(idp, "babs", "james")
    answer = idp.patch(team.path, {"op": "remove", "path": "members"})
    assert answer.get("members", []) == []
    assert team.members() == set()


def test_remove_by_a_complex_filter_3_5_2_2(idp: Idp) -> None:
    other = {"value": "babs@jensen.org", "type": "work"}
    user = idp.user("bjensen", emails=[WORK_MAIL, other])
    path = 'emails[type eq "work" and value ew "example.com"]'
    assert idp.patch(f"/Users/{user['id']}", {"op": "remove", "path": path})["emails"] == [other]


def test_remove_and_add_a_member_3_5_2_2(idp: Idp) -> None:
    team = Team(idp, "babs")
    idp.patch(
        team.path,
        {"op": "remove", "path": f'members[value eq "{team.babs}"]'},
        {"op": "add", "path": "members", "value": [team.member("james")]},
    )
    assert team.members() == {team.james}


def test_replace_all_members_by_remove_and_add_3_5_2_2(idp: Idp) -> None:
    team = Team(idp, "babs")
    both = [team.member("babs"), team.member("james")]
    idp.patch(team.path, {"op": "remove", "path": "members"}, {"op": "add", "path": "members", "value": both})
    assert team.members() == {team.babs, team.james}


def test_replace_all_members_3_5_2_3(idp: Idp) -> None:
    team = Team(idp, "babs")
    idp.patch(team.path, {"op": "replace", "path": "members", "value": [team.member("james")]})
    assert team.members() == {team.james}


def test_replace_the_work_address_3_5_2_3(idp: Idp) -> None:
    user = idp.user("bjensen", addresses=[WORK, HOME])
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
    operation = {"op": "replace", "path": 'addresses[type eq "work"]', "value": new}
    assert idp.patch(f"/Users/{user['id']}", operation)["addresses"] == [new, HOME]


def test_replace_a_sub_attribute_3_5_2_3(idp: Idp) -> None:
    user = idp.user("bjensen", addresses=[WORK, HOME])
    path, street = 'addresses[type eq "work"].streetAddress', "1010 Broadway Ave"
    changed = idp.patch(f"/Users/{user['id']}", {"op": "replace", "path": path, "value": street})
    assert changed["addresses"] == [{**WORK, "streetAddress": street}, HOME]


def test_replace_values_without_a_path_3_5_2_3(idp: Idp) -> None:
    user = idp.user("bjensen", emails=[{"value": "old@example.com"}], nickName="Barbara")
    mails = [
        {"value": "bjensen@example.com", "type": "work", "primary": True},
        {"value": "babs@jensen.org", "type": "home"},
    ]
    changed = idp.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"emails": mails, "nickname": "Babs"}})
    assert (changed["emails"], changed["nickName"]) == (mails, "Babs")


REFUSED: list[tuple[str, Json, str]] = [
    ("no path to remove", {"op": "remove"}, "noTarget"),
    ("no value to add", {"op": "add", "path": "title"}, "invalidValue"),
    ("unknown op", {"op": "move", "path": "title", "value": "x"}, "invalidSyntax"),
    ("unknown attribute", {"op": "add", "path": "shoeSize", "value": 46}, "invalidPath"),
    ("unknown sub-attribute", {"op": "add", "path": "name.shoeSize", "value": 46}, "invalidPath"),
    ("path that does not parse", {"op": "add", "path": "emails[type eq", "value": "x"}, "invalidPath"),
    ("replace of what is not there", {"op": "replace", "path": 'emails[type eq "x"].value', "value": "x"}, "noTarget"),
    ("unsynthesisable add", {"op": "add", "path": 'emails[value co "zzz"].type', "value": "work"}, "noTarget"),
    ("wrong type", {"op": "replace", "path": "active", "value": "maybe"}, "invalidValue"),
    ("number for a string", {"op": "replace", "path": "title", "value": {"a": 1}}, "invalidValue"),
    ("required removed", {"op": "remove", "path": "userName"}, "invalidValue"),
    ("readOnly named", {"op": "replace", "path": "id", "value": "7"}, "mutability"),
    ("readOnly meta", {"op": "replace", "path": "meta.created", "value": "2020-01-01T00:00:00Z"}, "mutability"),
    ("readOnly groups", {"op": "add", "path": "groups", "value": [{"value": "7"}]}, "mutability"),
]


@pytest.mark.parametrize(("operation", "scim_type"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_and_nothing_of_the_request_is_done(idp: Idp, operation: Json, scim_type: str) -> None:
    user = idp.user("bjensen", emails=[WORK_MAIL])
    good = {"op": "add", "path": "title", "value": "Tour Guide"}
    assert idp.try_patch(f"/Users/{user['id']}", good, operation).error == (400, scim_type)
    assert idp.get(f"/Users/{user['id']}") == user


@pytest.mark.parametrize(
    "body",
    [
        {"schemas": [PATCH_OP]},
        {"schemas": [PATCH_OP], "Operations": {}},
        {"schemas": [PATCH_OP], "Operations": ["add"]},
        {"schemas": [PATCH_OP], "Operations": [{"path": "title", "value": "x"}]},
        {"schemas": [PATCH_OP], "Operations": [{"op": "add", "path": 7, "value": "x"}]},
        [],
        "text",
    ],
)
def test_what_is_no_patch_is_invalid_syntax(idp: Idp, body: Any) -> None:
    user = idp.user()
    answer = idp.send("PATCH", f"/Users/{user['id']}", body)
    assert answer.error == (400, "invalidSyntax")
    assert idp.get(f"/Users/{user['id']}") == user


def test_group_patch_is_atomic(idp: Idp) -> None:
    team = Team(idp, "babs")
    before = idp.get(team.path)
    add = {"op": "add", "path": "members", "value": [{"value": team.james}]}
    assert idp.try_patch(team.path, add, {"op": "remove"}).error == (400, "noTarget")
    assert idp.get(team.path) == before


def test_adding_what_is_there_is_no_change_and_leaves_last_modified(idp: Idp) -> None:
    user = idp.user(emails=[WORK_MAIL], title="Guide", enterprise={"department": "Tours"})
    same: list[Json] = [
        {"op": "add", "path": "emails", "value": [WORK_MAIL]},
        {"op": "add", "path": "title", "value": "Guide"},
        {"op": "replace", "path": f"{ENTERPRISE}:department", "value": "Tours"},
        {"op": "add", "value": {"title": "Guide"}},
    ]
    for operation in same:
        assert idp.patch(f"/Users/{user['id']}", operation) == user


def test_adding_a_member_again_is_no_change(idp: Idp) -> None:
    team = Team(idp, "babs")
    group = idp.get(team.path)
    for operation in (
        {"op": "add", "path": "members", "value": [{"value": team.babs, "display": "Somebody"}]},
        {"op": "remove", "path": f'members[value eq "{team.james}"]'},
        {"op": "replace", "path": "members", "value": [{"value": team.babs}]},
    ):
        assert idp.patch(team.path, operation) == group


def test_membership_moves_last_modified(idp: Idp) -> None:
    team = Team(idp, "babs")
    before = idp.get(team.path)["meta"]
    after = idp.patch(team.path, {"op": "add", "path": "members", "value": [{"value": team.james}]})["meta"]
    assert after["version"] != before["version"]
    assert after["lastModified"] >= before["lastModified"]
    assert after["created"] == before["created"]


def test_one_primary_at_most_3_5_2(idp: Idp) -> None:
    user = idp.user(emails=[{**WORK_MAIL, "primary": True}])
    changed = idp.patch(
        f"/Users/{user['id']}", {"op": "add", "path": "emails", "value": [{**HOME_MAIL, "primary": True}]}
    )
    assert [one["value"] for one in changed["emails"] if one.get("primary")] == [HOME_MAIL["value"]]
    assert len(changed["emails"]) == 2


FORMS: list[tuple[str, Json, str, Any]] = [
    ("simple", {"op": "add", "path": "title", "value": "x"}, "title", "x"),
    ("core urn", {"op": "add", "path": f"{USER}:title", "value": "x"}, "title", "x"),
    ("sub-attribute", {"op": "replace", "path": "name.familyName", "value": "x"}, "name", {"familyName": "x"}),
    ("complex merges", {"op": "replace", "path": "name", "value": {"givenName": "y"}}, "name", {"givenName": "y"}),
    ("extension attribute", {"op": "add", "path": f"{ENTERPRISE}:costCenter", "value": "7"}, "costCenter", "7"),
    ("whole extension", {"op": "add", "path": ENTERPRISE, "value": {"costCenter": "7"}}, "costCenter", "7"),
    ("extension in a value", {"op": "add", "value": {ENTERPRISE: {"costCenter": "7"}}}, "costCenter", "7"),
    ("URN key in a value", {"op": "add", "value": {f"{ENTERPRISE}:costCenter": "7"}}, "costCenter", "7"),
    ("dotted key in a value", {"op": "add", "value": {"name.familyName": "x"}}, "name", {"familyName": "x"}),
    (
        "element made by add",
        {"op": "add", "path": 'emails[type eq "work"].value', "value": "x@y"},
        "emails",
        [{"type": "work", "value": "x@y"}],
    ),
]


@pytest.mark.parametrize(("operation", "name", "value"), [case[1:] for case in FORMS], ids=[case[0] for case in FORMS])
def test_every_form_of_a_path(idp: Idp, operation: Json, name: str, value: Any) -> None:
    user = idp.user()
    idp.patch(f"/Users/{user['id']}", operation)
    stored = idp.get(f"/Users/{user['id']}")
    assert (stored | stored.get(ENTERPRISE, {}))[name] == value


def test_whole_extension_removed_reads_as_unassigned(idp: Idp) -> None:
    user = idp.user(enterprise={"department": "Tours", "costCenter": "7"})
    changed = idp.patch(f"/Users/{user['id']}", {"op": "remove", "path": ENTERPRISE})
    assert ENTERPRISE not in changed
    assert changed["schemas"] == [USER]


def test_patch_of_nobody_is_404(idp: Idp) -> None:
    operation = {"op": "add", "path": "title", "value": "x"}
    assert idp.try_patch(f"/Users/{uuid4()}", operation).error == (404, None)
    group = idp.group()
    assert idp.try_patch(f"/Users/{group['id']}", operation).error == (404, None)
