"""RFC 7644 section 3.4: the filters of 3.4.2.2 word for word, sorting, index paging, queries by POST, at the root."""

from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.conformance.admin import Admin
from tests.conformance.client import ENTERPRISE, LIST, SEARCH, Idp, Json, a_user

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
PEOPLE: dict[str, Json] = {
    "bjensen": {
        "name": {"familyName": "O'Malley", "givenName": "Barbara"},
        "title": "Tour Guide",
        "userType": "Employee",
        "emails": [{"value": "bjensen@example.com", "type": "work", "primary": True}],
        "active": True,
        "displayName": "Smith, Babs",
    },
    "Jsmith": {
        "name": {"familyName": "Smith"},
        "userType": "Intern",
        "emails": [{"value": "jsmith@EXAMPLE.org", "type": "home"}],
        "active": False,
        "displayName": "smithers",
    },
    "mallory": {
        "title": "Boss",
        "userType": "Contractor",
        "ims": [{"value": "m@foo.com", "type": "xmpp"}],
        "enterprise": {"employeeNumber": "701984", "department": "Tours"},
        "externalId": "Case-Matters",
    },
    "julia": {"userType": "Employee", "emails": [{"value": "julia@other.net", "type": "work"}], "title": "Clerk"},
}
EVERYBODY = set(PEOPLE)


@pytest.fixture(scope="module")
def people(admin: Admin) -> Iterator[Idp]:
    """A tenant with four users and two groups, which no test changes."""
    idp = admin.idp()
    for name, attributes in PEOPLE.items():
        idp.post("/Users", a_user(name, **attributes))
    ids = {one["userName"]: one["id"] for one in idp.list("Users")["Resources"]}
    idp.group("Smith family", ids["Jsmith"])
    idp.group("Employees", ids["bjensen"], ids["julia"])
    idp.patch(
        f"/Users/{ids['julia']}", {"op": "add", "path": f"{ENTERPRISE}:manager", "value": {"value": ids["mallory"]}}
    )
    yield idp
    idp.close()


# RFC 7644 figure 2 and its examples, as they stand there.
EXAMPLES: list[tuple[str, set[str]]] = [
    ('userName eq "bjensen"', {"bjensen"}),
    ('name.familyName co "O\'Malley"', {"bjensen"}),
    ('userName sw "J"', {"Jsmith", "julia"}),
    ('urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J"', {"Jsmith", "julia"}),
    ("title pr", {"bjensen", "mallory", "julia"}),
    ('meta.lastModified gt "2011-05-13T04:42:34Z"', EVERYBODY),
    ('meta.lastModified ge "2011-05-13T04:42:34Z"', EVERYBODY),
    ('meta.lastModified lt "2011-05-13T04:42:34Z"', set()),
    ('meta.lastModified le "2011-05-13T04:42:34Z"', set()),
    ('title pr and userType eq "Employee"', {"bjensen", "julia"}),
    ('title pr or userType eq "Intern"', EVERYBODY),
    ('schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"', {"mallory", "julia"}),
    (
        'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")',
        {"bjensen"},
    ),
    (
        'userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")',
        {"mallory"},
    ),
    ('userType eq "Employee" and (emails.type eq "work")', {"bjensen", "julia"}),
    ('userType eq "Employee" and emails[type eq "work" and value co "@example.com"]', {"bjensen"}),
    (
        'emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]',
        {"bjensen", "mallory"},
    ),
]
# Rules of the section that the examples do not show.
RULES: list[tuple[str, set[str]]] = [
    ('USERNAME EQ "BJENSEN"', {"bjensen"}),
    ('userName ne "bjensen"', EVERYBODY - {"bjensen"}),
    ('userName ew "Y"', {"mallory"}),
    ('userName gt "julia"', {"mallory"}),
    ('userName le "julia"', EVERYBODY - {"mallory"}),
    ('externalId eq "case-matters"', set()),
    ('externalId eq "Case-Matters"', {"mallory"}),
    ("active eq false", {"Jsmith"}),
    ("not (title pr)", {"Jsmith"}),
    ("not(title pr) and active eq false", {"Jsmith"}),
    # "and" binds stronger than "or".
    ('userType eq "Intern" or userType eq "Employee" and title eq "Clerk"', {"Jsmith", "julia"}),
    ('(userType eq "Intern" or userType eq "Employee") and title eq "Clerk"', {"julia"}),
    (f'{ENTERPRISE}:department eq "tours"', {"mallory"}),
    ('urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber eq "701984"', {"mallory"}),
    (f"{ENTERPRISE}:manager pr", {"julia"}),
    ("emails[primary eq true]", {"bjensen"}),
    ('emails[type eq "home"] and emails.value ew ".ORG"', {"Jsmith"}),
    ('userName eq "nobody"', set()),
    ('userName eq "\\u0062jensen"', {"bjensen"}),
    ("title eq null", {"Jsmith"}),
    ('groups.display eq "Employees"', {"bjensen", "julia"}),
    ("groups pr", {"bjensen", "julia", "Jsmith"}),
    ('meta.resourceType eq "User"', EVERYBODY),
]


@pytest.mark.parametrize(("condition", "expected"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_examples_of_3_4_2_2(people: Idp, condition: str, expected: set[str]) -> None:
    assert people.names(condition) == expected


@pytest.mark.parametrize(("condition", "expected"), RULES, ids=[one[0] for one in RULES])
def test_rules_of_3_4_2_2(people: Idp, condition: str, expected: set[str]) -> None:
    assert people.names(condition) == expected


INVALID = [
    "userName",
    "userName eq",
    'userName eq "unclosed',
    "userName eq bjensen",
    'userName is "bjensen"',
    '(userName eq "a"',
    'userName eq "a")',
    'userName eq "a" and',
    'userName eq "a" userType eq "b"',
    'emails[type eq "work"',
    "emails[]",
    'shoeSize eq "46"',
    'name.shoeSize eq "46"',
    'userName eq "a\u0000b"',
    'meta.lastModified gt "yesterday"',
    "active gt true",
    'active eq "maybe"',
    "and",
    "()",
]


@pytest.mark.parametrize("condition", INVALID)
def test_what_is_no_filter_is_invalid_filter(people: Idp, condition: str) -> None:
    assert people.search("Users", condition).error == (400, "invalidFilter")


def test_filters_of_groups(people: Idp) -> None:
    ids = {one["userName"]: one["id"] for one in people.list("Users")["Resources"]}
    for condition, expected in (
        ('displayName eq "EMPLOYEES"', {"Employees"}),
        (f'members.value eq "{ids["Jsmith"]}"', {"Smith family"}),
        (f'members[value eq "{ids["julia"]}"]', {"Employees"}),
        (f'members eq "{ids["julia"]}"', {"Employees"}),
        ("members pr", {"Smith family", "Employees"}),
        (f'members.value eq "{uuid4()}"', set()),
    ):
        assert people.names(condition, "Groups") == expected, condition


def test_a_list_is_a_list_response_3_4_2(people: Idp) -> None:
    page = people.list("Users")
    assert page["schemas"] == [LIST]
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (4, 1, 4)
    nobody = people.list("Users", 'userName eq "nobody"')
    assert (nobody["totalResults"], nobody["Resources"]) == (0, [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"sortBy": "userName"}, ["bjensen", "Jsmith", "julia", "mallory"]),
        ({"sortBy": "userName", "sortOrder": "descending"}, ["mallory", "julia", "Jsmith", "bjensen"]),
        ({"sortBy": "USERNAME", "sortOrder": "Ascending"}, ["bjensen", "Jsmith", "julia", "mallory"]),
        # Without a value: last when ascending, first when descending.
        ({"sortBy": "title"}, ["mallory", "julia", "bjensen", "Jsmith"]),
        ({"sortBy": "title", "sortOrder": "descending"}, ["Jsmith", "bjensen", "julia", "mallory"]),
        ({"sortBy": "name.familyName", "count": 2}, ["bjensen", "Jsmith"]),
        ({"sortBy": "emails", "count": 3}, ["bjensen", "Jsmith", "julia"]),
        ({"sortBy": "meta.created"}, list(PEOPLE)),
        ({"sortBy": f"{ENTERPRISE}:department", "count": 1}, ["mallory"]),
        ({}, list(PEOPLE)),
    ],
)
def test_sorting_3_4_2_3(people: Idp, query: dict[str, str | int], expected: list[str]) -> None:
    assert [one["userName"] for one in people.list("Users", **query)["Resources"]] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"sortBy": "shoeSize"}, (400, "invalidValue")),
        ({"sortBy": "userName", "sortOrder": "sideways"}, (400, "invalidValue")),
        ({"count": "many"}, (400, "invalidValue")),
        ({"startIndex": "first"}, (400, "invalidValue")),
    ],
)
def test_malformed_parameters(people: Idp, query: dict[str, str | int], expected: tuple[int, str]) -> None:
    assert people.search("Users", **query).error == expected


@pytest.mark.parametrize(
    ("query", "start", "items"),
    [
        ({"startIndex": 1, "count": 2}, 1, 2),
        ({"startIndex": 3, "count": 2}, 3, 2),
        ({"startIndex": 4, "count": 10}, 4, 1),
        ({"startIndex": 5}, 5, 0),
        ({"startIndex": 0, "count": 1}, 1, 1),
        ({"startIndex": -7, "count": 1}, 1, 1),
        ({"count": 0}, 1, 0),
        ({"count": -1}, 1, 0),
        ({"count": 1_000_000}, 1, 4),
    ],
)
def test_index_paging_3_4_2_4(people: Idp, query: dict[str, str | int], start: int, items: int) -> None:
    page = people.list("Users", **query)
    assert (page["startIndex"], page["itemsPerPage"], page["totalResults"]) == (start, items, 4)
    assert len(page["Resources"]) == items
    assert [one["userName"] for one in page["Resources"]] == list(PEOPLE)[start - 1 : start - 1 + items]


def test_search_by_post_3_4_3(people: Idp) -> None:
    body = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "attributes": ["displayName", "userName"],
        "filter": 'displayName sw "smith"',
        "startIndex": 1,
        "count": 10,
    }
    page = people.send("POST", "/.search", body).ok()
    assert page["schemas"] == [LIST]
    assert (page["totalResults"], page["itemsPerPage"], page["startIndex"]) == (3, 3, 1)
    assert {one["displayName"] for one in page["Resources"]} == {"Smith, Babs", "smithers", "Smith family"}
    for one in page["Resources"]:
        assert one.keys() <= {"id", "schemas", "displayName", "userName"}
    assert people.send("POST", "/Users/.search", body).ok()["totalResults"] == 2
    assert people.send("POST", "/Groups/.search", body).ok()["totalResults"] == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"filter": "userName eq"}, (400, "invalidFilter")),
        ({"count": "many"}, (400, "invalidValue")),
        ({"sortOrder": "sideways", "sortBy": "userName"}, (400, "invalidValue")),
        ({"filter": 7}, (400, "invalidValue")),
        ([], (400, "invalidSyntax")),
    ],
)
def test_malformed_searches(people: Idp, body: object, expected: tuple[int, str]) -> None:
    message = {"schemas": [SEARCH], **body} if isinstance(body, dict) else body
    assert people.send("POST", "/Users/.search", message).error == expected


def test_query_of_the_root_3_4_2_1(people: Idp) -> None:
    page = people.send(
        "GET", "?filter=" + quote('(meta.resourceType eq "User") or (meta.resourceType eq "Group")')
    ).ok()
    assert page["totalResults"] == 6
    assert {one["meta"]["resourceType"] for one in page["Resources"]} == {"User", "Group"}
    assert people.send("GET", "/?filter=" + quote('userName sw "J"')).ok()["totalResults"] == 2
    only_groups = people.send("GET", "?filter=" + quote('meta.resourceType eq "Group"')).ok()
    assert {one["displayName"] for one in only_groups["Resources"]} == {"Smith family", "Employees"}


def test_attributes_of_a_list_3_4_2_5(people: Idp) -> None:
    for one in people.list("Groups", excludedAttributes="members")["Resources"]:
        assert "members" not in one
    for one in people.list("Users", attributes="userName")["Resources"]:
        assert one.keys() == {"schemas", "id", "userName"}


def test_a_filter_longer_than_2048_bytes_is_refused(people: Idp) -> None:
    long = " or ".join(f'userName eq "{number:04}"' for number in range(150))
    assert len(long) > 3000
    assert people.search("Users", long).error in ((400, "invalidFilter"), (400, "tooMany"))
