"""The table "input -> ours" of shared/scim.md section D, row by row; and the five switches, each way."""

from typing import Any
from uuid import uuid4

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import ANSWER_TYPE, ENTERPRISE, GROUP, USER, Idp, Json, a_user
from tests.conformance.conftest import NewIdp

MAIL = {"type": "work", "value": "a@example.com"}


@pytest.mark.parametrize("op", ["replace", "Replace", "REPLACE"])
def test_op_in_any_case_and_a_patch_without_schemas(idp: Idp, op: str) -> None:
    user = idp.user()
    body = {"Operations": [{"op": op, "path": "title", "value": "x"}]}
    assert idp.send("PATCH", f"/Users/{user['id']}", body).ok()["title"] == "x"


@pytest.mark.parametrize(
    ("text", "value"), [("True", True), ("true", True), ("FALSE", False), ("False", False), (True, True)]
)
def test_booleans_as_text(idp: Idp, text: object, value: bool) -> None:
    user = idp.user("boole", active=text)
    assert user["active"] is value
    idp.patch(f"/Users/{user['id']}", {"op": "replace", "path": "active", "value": not value})
    changed = idp.patch(f"/Users/{user['id']}", {"op": "replace", "value": {"active": text}})
    assert changed["active"] is value
    literal = f'"{text}"' if isinstance(text, str) else str(text).lower()
    assert idp.names(f"active eq {literal}") == {"boole"}


@pytest.mark.parametrize("value", ["yes", "1", "", 1, 0, [True], {"value": True}])
def test_other_booleans_are_invalid_value(idp: Idp, value: object) -> None:
    assert idp.send("POST", "/Users", a_user("x", active=value)).error == (400, "invalidValue")


def test_add_through_a_value_path_makes_one_element_that_later_operations_meet(idp: Idp) -> None:
    user = idp.user()
    path = 'addresses[type eq "work" and country eq "DE"]'
    changed = idp.patch(
        f"/Users/{user['id']}",
        {"op": "add", "path": f"{path}.locality", "value": "Berlin"},
        {"op": "add", "path": f"{path}.postalCode", "value": "10115"},
        {"op": "replace", "path": f"{path}.locality", "value": "Bonn"},
    )
    assert changed["addresses"] == [{"type": "work", "country": "DE", "locality": "Bonn", "postalCode": "10115"}]


@pytest.mark.parametrize("op", ["add", "replace"])
@pytest.mark.parametrize(
    "condition", ['value co "x"', 'value ew "x"', 'type eq "a" or type eq "b"', 'not (type eq "a")']
)
def test_what_cannot_be_synthesised_is_no_target(new_idp: NewIdp, op: str, condition: str) -> None:
    idp = new_idp("entra")
    user = idp.user()
    operation = {"op": op, "path": f"emails[{condition}].display", "value": "x"}
    answer = idp.try_patch(f"/Users/{user['id']}", operation)
    if condition.startswith("not"):  # selects nothing, since there is no element at all
        assert answer.error[0] == 400
    else:
        assert answer.error == (400, "noTarget")
    assert idp.get(f"/Users/{user['id']}") == user


@pytest.mark.parametrize("path", ["title", "name.givenName", 'emails[type eq "home"]', f"{ENTERPRISE}:department"])
def test_removing_what_is_not_there_is_no_change(idp: Idp, path: str) -> None:
    user = idp.user(emails=[MAIL])
    assert idp.patch(f"/Users/{user['id']}", {"op": "remove", "path": path}) == user


def test_members_are_removed_by_a_value_array(idp: Idp) -> None:
    ids = [idp.user()["id"] for _ in range(3)]
    group = idp.group("Crew", *ids)["id"]
    gone = [{"value": ids[0]}, {"value": str(uuid4())}, {"value": "nobody"}]
    idp.patch(f"/Groups/{group}", {"op": "remove", "path": "members", "value": gone})
    assert idp.members(group) == set(ids[1:])


def test_remove_without_a_path_is_no_target(idp: Idp) -> None:
    user = idp.user()
    assert idp.try_patch(f"/Users/{user['id']}", {"op": "remove", "value": {"title": "x"}}).error == (400, "noTarget")


def test_read_only_values_in_a_path_less_value_are_ignored(idp: Idp) -> None:
    user = idp.user()
    values: list[Json] = [
        {"id": user["id"]},
        {"id": str(uuid4())},
        {"meta": {"created": "2001-01-01T00:00:00Z"}},
        {"groups": []},
    ]
    for value in values:
        assert idp.patch(f"/Users/{user['id']}", {"op": "replace", "value": value}) == user


def test_manager_and_department_without_their_urn(idp: Idp) -> None:
    boss = idp.user()["id"]
    user = idp.user("anna")
    changed = idp.patch(
        f"/Users/{user['id']}",
        {"op": "add", "path": "department", "value": "Tours"},
        {"op": "add", "path": "manager", "value": boss},
    )
    assert changed[ENTERPRISE]["department"] == "Tours"
    assert changed[ENTERPRISE]["manager"]["value"] == boss
    for condition in ('department eq "tours"', f'manager eq "{boss}"', f'manager.value eq "{boss}"'):
        assert idp.names(condition) == {"anna"}, condition


def test_a_complex_attribute_compared_directly_is_its_value(idp: Idp) -> None:
    user = idp.user("anna", emails=[MAIL])
    idp.group("Crew", user["id"])
    assert idp.names('emails eq "A@example.com"') == {"anna"}
    assert idp.names('emails[type eq "work"].value eq "a@example.com"') == {"anna"}
    assert idp.names('emails[type eq "home"].value eq "a@example.com"') == set()
    assert idp.names(f'members eq "{user["id"]}"', "Groups") == {"Crew"}


@pytest.mark.parametrize(
    "schemas",
    [["urn:scim:schemas:core:2.0"], [], None, ["urn:nobody:knows"], [USER, "urn:nobody:knows"], [ENTERPRISE, USER]],
)
def test_schemas_are_what_the_endpoint_says(idp: Idp, schemas: object) -> None:
    body = {**a_user(), "schemas": schemas}
    if schemas in ([], None):
        # scim-sanity wants a 400 for a POST without any; both readings are the RFC's (7643 section 3: REQUIRED).
        answer = idp.send("POST", "/Users", body)
        assert answer.status == 201 or answer.error[0] == 400
        return
    assert idp.post("/Users", body)["schemas"] == [USER]


def test_unknown_attributes_are_ignored_and_audited(idp: Idp, admin: Admin) -> None:
    body = a_user("anna", shoeSize=46, name={"givenName": "A", "shoe": "x"})
    made = idp.post("/Users", body)
    assert "shoeSize" not in made
    assert made["name"] == {"givenName": "A"}
    event = admin.audit(idp.tenant, "user.create")[0]
    assert event["resource_id"] == made["id"]
    assert "shoeSize" in str(event["details"])
    path = {"op": "add", "path": "shoeSize", "value": 46}
    assert idp.try_patch(f"/Users/{made['id']}", path).error == (400, "invalidPath")


@pytest.mark.parametrize("value", [None, []])
def test_null_and_empty_are_unassigned(idp: Idp, value: object) -> None:
    user = idp.user("anna", emails=value, title=None)
    assert "emails" not in user
    assert "title" not in user
    with_mail = idp.user("otto", emails=[MAIL])
    cleared = idp.patch(f"/Users/{with_mail['id']}", {"op": "replace", "path": "emails", "value": value or []})
    assert "emails" not in cleared


def test_user_name_in_another_case_is_the_same_user(idp: Idp) -> None:
    user = idp.user("Anna@Example.com")
    assert user["userName"] == "Anna@Example.com"
    assert idp.send("POST", "/Users", a_user("aNNA@example.COM")).error == (409, "uniqueness")
    other = idp.user("otto")
    rename = {"op": "replace", "path": "userName", "value": "ANNA@example.com"}
    assert idp.try_patch(f"/Users/{other['id']}", rename).error == (409, "uniqueness")
    assert idp.send("PUT", f"/Users/{other['id']}", a_user("anna@EXAMPLE.com")).error == (409, "uniqueness")
    assert idp.patch(f"/Users/{user['id']}", rename)["userName"] == "ANNA@example.com"


def test_put_clears_what_it_omits_but_keeps_the_password_secret(idp: Idp) -> None:
    user = idp.user("anna", title="x", emails=[MAIL], password="secret", enterprise={"department": "d"})
    replaced = idp.put(f"/Users/{user['id']}", a_user("anna"))
    assert replaced.keys() & {"title", "emails", "password", ENTERPRISE} == set()


def test_members_are_who_they_are_by_value(idp: Idp) -> None:
    user = idp.user("anna", displayName="Anna")
    group = idp.group("Crew", user["id"])
    for member in ({"value": user["id"], "display": "Other"}, {"value": user["id"], "type": "User"}):
        again = idp.patch(f"/Groups/{group['id']}", {"op": "add", "path": "members", "value": [member]})
        assert again == group
    assert again["members"][0]["display"] == "Anna"


@pytest.mark.parametrize("kind", ["Users", "Groups"])
def test_patch_is_answered_with_the_resource(idp: Idp, kind: str) -> None:
    made = idp.user() if kind == "Users" else idp.group()
    changed = idp.patch(f"/{kind}/{made['id']}", {"op": "replace", "path": "displayName", "value": "New"})
    assert changed == idp.get(f"/{kind}/{made['id']}")


def test_active_false_is_visible_everywhere(idp: Idp) -> None:
    user = idp.user("anna", active=False)
    assert idp.get(f"/Users/{user['id']}")["active"] is False
    assert idp.names("active eq false") == idp.names('userName eq "anna"') == idp.names("") == {"anna"}


@pytest.mark.parametrize(
    "target",
    [
        "/Users/?filter=userName%20eq%20%22anna%22",
        "/Users?filter=userName+eq+%22anna%22",
        "/Users?filter=userName%20eq%20%22anna%22&",
        "/Users?FILTER=userName%20eq%20%22anna%22&filter=userName%20eq%20%22anna%22",
        "/Users/?",
        "/Users?",
    ],
)
def test_spellings_of_a_target(idp: Idp, target: str) -> None:
    idp.user("anna")
    assert idp.get(target)["totalResults"] == 1


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "", "application/scim+json;q=0.9, */*;q=0.1", "text/html"]
)
def test_answers_are_scim_json_whatever_is_accepted(idp: Idp, accept: str) -> None:
    answer = idp.send("GET", "/Users", Accept=accept)
    assert answer.status in (200, 406)
    assert answer.headers["Content-Type"] == ANSWER_TYPE


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/scim+json", ""])
def test_bodies_may_be_called_json_or_nothing(idp: Idp, kind: str) -> None:
    assert idp.send("POST", "/Users", a_user("anna"), Content_Type=kind).status == 201


def test_attributes_with_a_value_filter_is_its_base_attribute(idp: Idp) -> None:
    user = idp.user(emails=[MAIL], title="x")
    seen = idp.get(f"/Users/{user['id']}?attributes=emails%5Btype%20eq%20%22work%22%5D")
    assert (seen["emails"], "title" in seen) == ([MAIL], False)


# --- the switches -------------------------------------------------------------------------------------------------


def test_replace_creates_off_is_no_target(idp: Idp) -> None:
    user = idp.user()
    operation = {"op": "replace", "path": 'emails[type eq "work"].value', "value": "a@example.com"}
    assert idp.try_patch(f"/Users/{user['id']}", operation).error == (400, "noTarget")


@pytest.mark.parametrize(
    ("path", "value"),
    [('emails[type eq "work"].value', "a@example.com"), ('emails[type eq "work"]', {"value": "a@example.com"})],
)
def test_replace_creates_on_makes_the_element(new_idp: NewIdp, path: str, value: Any) -> None:
    for idp in (new_idp("entra"), new_idp("generic", replace_creates=True)):
        user = idp.user()
        changed = idp.patch(f"/Users/{user['id']}", {"op": "replace", "path": path, "value": value})
        assert changed["emails"] == [MAIL]


@pytest.mark.parametrize(("keeps", "expected"), [(True, False), (False, True)])
def test_put_keeps_active(new_idp: NewIdp, keeps: bool, expected: bool) -> None:
    idp = new_idp("generic", put_keeps_active=keeps)
    user = idp.user("anna", active=False)
    assert idp.put(f"/Users/{user['id']}", a_user("anna"))["active"] is expected
    assert new_idp().user("anna", active=False)["active"] is False


@pytest.mark.parametrize("keeps", [True, False])
def test_put_keeps_members(new_idp: NewIdp, keeps: bool) -> None:
    idp = new_idp("generic", put_keeps_members=keeps)
    user = idp.user()["id"]
    group = idp.group("Crew", user)["id"]
    idp.put(f"/Groups/{group}", {"schemas": [GROUP], "displayName": "Crew"})
    assert idp.members(group) == ({user} if keeps else set())
    idp.put(f"/Groups/{group}", {"schemas": [GROUP], "displayName": "Crew", "members": []})
    assert idp.members(group) == set()


def test_unique_group_names(new_idp: NewIdp) -> None:
    body: Json = {"schemas": [GROUP], "displayName": "CREW"}
    strict, loose = new_idp(), new_idp("generic", unique_group_names=False)
    for idp in (strict, loose):
        idp.group("Crew")
    assert strict.send("POST", "/Groups", body).error == (409, "uniqueness")
    other = strict.group("Team")
    rename = {"op": "replace", "path": "displayName", "value": "crew"}
    assert strict.try_patch(f"/Groups/{other['id']}", rename).error == (409, "uniqueness")
    assert strict.send("PUT", f"/Groups/{other['id']}", body).error == (409, "uniqueness")
    loose.post("/Groups", body)
    assert loose.list("Groups", 'displayName eq "crew"')["totalResults"] == 2


@pytest.mark.parametrize(
    ("idp_switches", "uniqueness"), [({}, "server"), ({"unique_group_names": False}, "none")], ids=["on", "off"]
)
def test_unique_group_names_are_advertised(new_idp: NewIdp, idp_switches: dict[str, bool], uniqueness: str) -> None:
    attributes = new_idp("generic", **idp_switches).get(f"/Schemas/{GROUP}")["attributes"]
    (name,) = (one for one in attributes if one["name"] == "displayName")
    assert name["uniqueness"] == uniqueness


def test_unknown_members_are_skipped_and_audited(idp: Idp, admin: Admin) -> None:
    user, nobody = idp.user()["id"], str(uuid4())
    group = idp.group("Crew", user, nobody)["id"]
    assert idp.members(group) == {user}
    assert nobody in str(admin.audit(idp.tenant, "group.create")[0]["details"])
    idp.patch(f"/Groups/{group}", {"op": "add", "path": "members", "value": [{"value": "fake-member-id"}]})
    assert idp.members(group) == {user}
    assert "fake-member-id" in str(admin.audit(idp.tenant, "group.patch")[0]["details"])


def test_unknown_members_are_refused_by_name(new_idp: NewIdp) -> None:
    idp = new_idp("generic", reject_unknown_members=True)
    user, nobody = idp.user()["id"], str(uuid4())
    body = {"schemas": [GROUP], "displayName": "Crew", "members": [{"value": user}, {"value": nobody}]}
    answer = idp.send("POST", "/Groups", body)
    assert answer.error == (400, "invalidValue")
    assert nobody in answer.json["detail"]
    assert idp.list("Groups")["totalResults"] == 0
    group = idp.group("Crew")
    for operation in (
        {"op": "add", "path": "members", "value": [{"value": user}, {"value": nobody}]},
        {"op": "replace", "path": "members", "value": [{"value": nobody}]},
    ):
        assert idp.try_patch(f"/Groups/{group['id']}", operation).error == (400, "invalidValue")
    assert idp.send("PUT", f"/Groups/{group['id']}", body).error == (400, "invalidValue")
    assert idp.get(f"/Groups/{group['id']}") == group
    # Removing somebody who is not there stays harmless.
    idp.patch(f"/Groups/{group['id']}", {"op": "remove", "path": "members", "value": [{"value": nobody}]})


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"shoeSize": 46}, "shoeSize"),
        ({"name": {"shoe": "x"}}, "shoe"),
        ({"emails": [{**MAIL, "shoe": "x"}]}, "shoe"),
        ({"enterprise": {"shoe": "x"}}, "shoe"),
    ],
)
def test_strict_attributes(new_idp: NewIdp, attributes: Json, named: str) -> None:
    idp = new_idp("generic", strict_attributes=True)
    answer = idp.send("POST", "/Users", a_user("anna", **attributes))
    assert answer.error == (400, "invalidSyntax")
    assert named in answer.json["detail"]
    user = idp.user("anna")
    value = {ENTERPRISE if name == "enterprise" else name: one for name, one in attributes.items()}
    assert idp.try_patch(f"/Users/{user['id']}", {"op": "add", "value": value}).status == 400
    assert idp.send("PUT", f"/Users/{user['id']}", a_user("anna", **attributes)).error == (400, "invalidSyntax")
    assert idp.get(f"/Users/{user['id']}") == user


def test_a_switch_is_in_force_at_once(idp: Idp, admin: Admin) -> None:
    for on in (True, False, True):
        admin.switch(idp.tenant, strict_attributes=on)
        assert idp.send("POST", "/Users", a_user(shoeSize=46)).status == (400 if on else 201)
