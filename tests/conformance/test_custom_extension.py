"""A custom extension made with grpcurl, as an operator does it, is in force over HTTP without a restart."""

import json
import subprocess
from typing import Any

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import ENTERPRISE, GROUP, USER, Idp, Json, a_user
from tests.conformance.conftest import NewIdp
from tests.conformance.programs import LIMIT_S, program

URN = "urn:acme:params:scim:schemas:extension:hr:1.0:User"
ATTRIBUTES: list[Json] = [
    {"name": "badge", "type": "ATTRIBUTE_TYPE_STRING", "uniqueness": "UNIQUENESS_SERVER", "case_exact": True},
    {"name": "shoeSize", "type": "ATTRIBUTE_TYPE_INTEGER"},
    {"name": "remote", "type": "ATTRIBUTE_TYPE_BOOLEAN"},
    {"name": "salary", "type": "ATTRIBUTE_TYPE_DECIMAL", "returned": "RETURNED_REQUEST"},
    {"name": "pin", "returned": "RETURNED_NEVER"},
    {"name": "hired", "type": "ATTRIBUTE_TYPE_DATE_TIME", "mutability": "MUTABILITY_IMMUTABLE"},
    {"name": "skills", "multi_valued": True},
    {
        "name": "desks",
        "type": "ATTRIBUTE_TYPE_COMPLEX",
        "multi_valued": True,
        "sub_attributes": [{"name": "type"}, {"name": "room"}, {"name": "floor", "type": "ATTRIBUTE_TYPE_INTEGER"}],
    },
]
VALUES: Json = {
    "badge": "B-7",
    "shoeSize": 46,
    "remote": True,
    "hired": "2026-01-02T03:04:05Z",
    "skills": ["juggling", "SQL"],
    "desks": [{"type": "work", "room": "4.01", "floor": 4}],
}


def grpcurl(admin: Admin, method: str, message: Json, *, fails: bool = False) -> Any:
    """Call the admin API with grpcurl and the server's reflection; return the answer, or the error's text."""
    command = [
        program("grpcurl"),
        "-plaintext",
        "-H",
        f"authorization: Bearer {admin.token}",
        "-d",
        json.dumps(message),
    ]
    run = subprocess.run(
        [*command, admin.address, method], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (run.returncode != 0) is fails, run.stderr
    return run.stderr if fails else json.loads(run.stdout)


def extend(admin: Admin, tenant: str, urn: str = URN, attributes: list[Json] | None = None, **more: Any) -> Any:
    schema = {"tenant_id": tenant, "id": urn, "resource_type": "RESOURCE_TYPE_USER", "name": "HR"} | more
    message = {"schema": {**schema, "attributes": attributes or ATTRIBUTES}}
    return grpcurl(admin, "muster.directory.v1.SchemaService/CreateSchema", message)


@pytest.fixture
def acme(idp: Idp, admin: Admin) -> Idp:
    """A tenant that has asked for its schemas before it got one more."""
    assert idp.get("/Schemas")["totalResults"] == 3
    assert URN not in idp.user("early", **{URN: VALUES})
    extend(admin, idp.tenant)
    return idp


def test_it_is_advertised(acme: Idp, new_idp: NewIdp) -> None:
    schema = acme.get(f"/Schemas/{URN}")
    assert schema == next(one for one in acme.get("/Schemas")["Resources"] if one["id"] == URN)
    told = {one["name"]: one for one in schema["attributes"]}
    assert list(told) == [one["name"] for one in ATTRIBUTES]
    assert (told["badge"]["uniqueness"], told["badge"]["caseExact"]) == ("server", True)
    assert (told["salary"]["type"], told["salary"]["returned"]) == ("decimal", "request")
    assert (told["hired"]["type"], told["hired"]["mutability"]) == ("dateTime", "immutable")
    assert (told["pin"]["type"], told["pin"]["returned"]) == ("string", "never")
    assert [one["name"] for one in told["desks"]["subAttributes"]] == ["type", "room", "floor"]
    extensions = acme.get("/ResourceTypes/User")["schemaExtensions"]
    assert {"schema": URN, "required": False} in extensions
    assert {one["schema"] for one in extensions} == {ENTERPRISE, URN}
    other = new_idp()
    assert other.send("GET", f"/Schemas/{URN}").status == 404
    assert URN not in other.user("elsewhere", **{URN: VALUES})


def test_it_is_stored_and_validated(acme: Idp) -> None:
    made = acme.post(
        "/Users", {**a_user("anna"), "schemas": [USER, URN], URN: {**VALUES, "pin": "1234", "salary": 1.5}}
    )
    assert made[URN] == VALUES
    assert made["schemas"] == [USER, URN]
    assert acme.get(f"/Users/{made['id']}") == made
    mistakes: list[Json] = [
        {"shoeSize": "large"},
        {"shoeSize": 1.5},
        {"remote": "perhaps"},
        {"hired": "soon"},
        {"skills": {}},
    ]
    for wrong in mistakes:
        answer = acme.send("POST", "/Users", a_user("otto", **{URN: wrong}))
        assert answer.error == (400, "invalidValue"), wrong
        assert next(iter(wrong)) in answer.json["detail"]
    assert acme.names('userName eq "otto"') == set()
    assert acme.send("POST", "/Users", a_user("uma", **{URN: {"badge": "B-7"}})).error == (409, "uniqueness")
    acme.user("uma", **{URN: {"badge": "b-7"}})


def test_it_is_filtered_and_sorted(acme: Idp) -> None:
    acme.user("anna", **{URN: VALUES})
    acme.user("otto", **{URN: {"badge": "A-1", "shoeSize": 39, "remote": False, "skills": ["chess"]}})
    for condition, expected in (
        (f'{URN}:badge eq "B-7"', {"anna"}),
        (f'{URN}:badge eq "b-7"', set()),
        (f"{URN}:shoeSize gt 39", {"anna"}),
        (f"{URN}:shoeSize le 46", {"anna", "otto"}),
        (f"{URN}:remote eq false", {"otto"}),
        (f'{URN}:skills eq "CHESS"', {"otto"}),
        (f'{URN}:hired lt "2026-02-01T00:00:00Z"', {"anna"}),
        (f'{URN}:desks[type eq "work" and floor ge 4]', {"anna"}),
        (f'{URN}:desks.room sw "4"', {"anna"}),
        (f"not ({URN}:badge pr)", {"early"}),
        (f'schemas eq "{URN}"', {"anna", "otto"}),
        ('badge eq "B-7"', {"anna"}),
    ):
        assert acme.names(condition) == expected, condition
    assert acme.search("Users", f'{URN}:nothing eq "x"').error == (400, "invalidFilter")
    page = acme.list("Users", sortBy=f"{URN}:shoeSize")
    assert [one["userName"] for one in page["Resources"]] == ["otto", "anna", "early"]


def test_it_is_patched(acme: Idp) -> None:
    user = acme.user("anna", **{URN: VALUES})
    target = f"/Users/{user['id']}"
    changed = acme.patch(
        target,
        {"op": "replace", "path": f"{URN}:shoeSize", "value": 47},
        {"op": "add", "path": f"{URN}:skills", "value": ["chess"]},
        {"op": "add", "path": f'{URN}:desks[type eq "home"].room', "value": "kitchen"},
        {"op": "remove", "path": f"{URN}:remote"},
        {"op": "add", "value": {f"{URN}:badge": "B-8"}},
    )
    assert changed[URN] == {
        "badge": "B-8",
        "shoeSize": 47,
        "hired": VALUES["hired"],
        "skills": [*VALUES["skills"], "chess"],
        "desks": [*VALUES["desks"], {"type": "home", "room": "kitchen"}],
    }
    for operation, expected in (
        ({"op": "add", "path": f"{URN}:nothing", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": f"{URN}:shoeSize", "value": "x"}, "invalidValue"),
        ({"op": "replace", "path": f"{URN}:hired", "value": "2027-01-01T00:00:00Z"}, "mutability"),
    ):
        assert acme.try_patch(target, operation).error == (400, expected)
    # Immutable values are in it.
    assert acme.try_patch(target, {"op": "remove", "path": URN}).error == (400, "mutability")
    assert acme.get(target) == changed


def test_it_is_removed_as_a_whole(acme: Idp) -> None:
    user = acme.user("anna", **{URN: {"badge": "B-8", "skills": ["chess"]}})
    gone = acme.patch(f"/Users/{user['id']}", {"op": "remove", "path": URN})
    assert URN not in gone
    assert gone["schemas"] == [USER]
    acme.user("otto", **{URN: {"badge": "B-8"}})


def test_it_is_projected(acme: Idp) -> None:
    user = acme.user("anna", **{URN: {**VALUES, "salary": 1000.5, "pin": "1234"}})
    target = f"/Users/{user['id']}"
    for query, expected in (
        ("", VALUES),
        (f"?attributes={URN}:shoeSize", {"shoeSize": 46}),
        (f"?attributes={URN}:salary", {"salary": 1000.5}),
        (f"?attributes={URN}:desks.room", {"desks": [{"room": "4.01"}]}),
        (f"?attributes={URN}:pin", None),
        (f"?excludedAttributes={URN}", None),
        (
            f"?excludedAttributes={URN}:desks,{URN}:skills",
            {n: VALUES[n] for n in ("badge", "shoeSize", "remote", "hired")},
        ),
        ("?attributes=userName", None),
    ):
        assert acme.get(target + query).get(URN) == expected, query
    page = acme.list("Users", f'{URN}:badge eq "B-7"', attributes=f"{URN}:badge")
    assert [one[URN] for one in page["Resources"]] == [{"badge": "B-7"}]


def test_it_changes_and_goes(acme: Idp, admin: Admin) -> None:
    service = "muster.directory.v1.SchemaService"
    user = acme.user("anna", **{URN: {"badge": "B-7"}})
    schema = {"tenant_id": acme.tenant, "id": URN, "resource_type": "RESOURCE_TYPE_USER", "name": "HR"}
    more = [*ATTRIBUTES, {"name": "nickname"}]
    grpcurl(admin, f"{service}/UpdateSchema", {"schema": {**schema, "attributes": more}})
    changed = acme.patch(f"/Users/{user['id']}", {"op": "add", "path": f"{URN}:nickname", "value": "x"})
    assert changed[URN] == {"badge": "B-7", "nickname": "x"}
    name = {"tenant_id": acme.tenant, "id": URN}
    assert "FailedPrecondition" in grpcurl(admin, f"{service}/DeleteSchema", name, fails=True)
    less = [one for one in ATTRIBUTES if one["name"] != "badge"]
    refused = grpcurl(admin, f"{service}/UpdateSchema", {"schema": {**schema, "attributes": less}}, fails=True)
    assert "FailedPrecondition" in refused
    assert "badge" in refused
    acme.patch(f"/Users/{user['id']}", {"op": "remove", "path": URN})
    grpcurl(admin, f"{service}/DeleteSchema", name)
    assert acme.send("GET", f"/Schemas/{URN}").status == 404
    assert acme.search("Users", f"{URN}:badge pr").error == (400, "invalidFilter")
    assert acme.get("/Schemas")["totalResults"] == 3


def test_groups_can_be_extended_too(idp: Idp, admin: Admin) -> None:
    urn = "urn:acme:params:scim:schemas:extension:crew:1.0:Group"
    extend(
        admin,
        idp.tenant,
        urn,
        [{"name": "budget", "type": "ATTRIBUTE_TYPE_INTEGER", "required": True}],
        resource_type="RESOURCE_TYPE_GROUP",
    )
    member = idp.user()["id"]
    group = idp.group("Crew", member, **{urn: {"budget": 7}})
    assert group["schemas"] == [GROUP, urn]
    assert idp.names(f"{urn}:budget ge 7", "Groups") == {"Crew"}
    idp.patch(f"/Groups/{group['id']}", {"op": "replace", "path": f"{urn}:budget", "value": 8})
    assert idp.get(f"/Groups/{group['id']}?attributes={urn}:budget")[urn] == {"budget": 8}
    required = {"op": "remove", "path": f"{urn}:budget"}
    assert idp.try_patch(f"/Groups/{group['id']}", required).status in (200, 400)
    assert idp.members(group["id"]) == {member}


def test_core_schemas_cannot_be_replaced(idp: Idp, admin: Admin) -> None:
    for urn in (USER, USER.upper(), ENTERPRISE, "not a urn"):
        schema = {"tenant_id": idp.tenant, "id": urn, "resource_type": "RESOURCE_TYPE_USER", "name": "x"}
        message = {"schema": {**schema, "attributes": [{"name": "x"}]}}
        refused = grpcurl(admin, "muster.directory.v1.SchemaService/CreateSchema", message, fails=True)
        assert "InvalidArgument" in refused or "AlreadyExists" in refused, refused
    assert idp.get("/Schemas")["totalResults"] == 3
