"""RFC 9865: paging by cursor."""

import pytest

from tests.conformance.client import LIST, SEARCH, Idp
from tests.conformance.conftest import NewIdp


@pytest.fixture
def crowd(idp: Idp) -> Idp:
    """A tenant of seven users."""
    for number in range(7):
        idp.user(f"user{number}", title=f"title {number % 2}")
    return idp


def walk(idp: Idp, count: int, **query: str) -> list[str]:
    """Follow nextCursor from the first page to the last and return the userNames."""
    names, cursor = [], ""
    while True:
        page = idp.list("Users", cursor=cursor, count=count, **query)
        assert page["schemas"] == [LIST]
        assert "startIndex" not in page
        assert page["itemsPerPage"] == len(page["Resources"]) <= count
        names += [one["userName"] for one in page["Resources"]]
        if "nextCursor" not in page:
            return names
        cursor = page["nextCursor"]
        # URL-safe as it is: RFC 9865 section 2 wants it usable as a query parameter.
        assert cursor
        assert cursor.isascii()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_all_pages_are_everything_once(crowd: Idp, count: int) -> None:
    assert walk(crowd, count) == [f"user{number}" for number in range(7)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"sortBy": "userName", "sortOrder": "descending"}, [6, 5, 4, 3, 2, 1, 0]),
        ({"sortBy": "title"}, [0, 2, 4, 6, 1, 3, 5]),
        ({"filter": 'title eq "title 1"'}, [1, 3, 5]),
    ],
)
def test_with_sort_and_filter(crowd: Idp, query: dict[str, str], expected: list[int]) -> None:
    found = walk(crowd, 2, **query)
    if "title" in query.get("sortBy", ""):
        assert (set(found[:4]), set(found[4:])) == (
            {f"user{n}" for n in expected[:4]},
            {f"user{n}" for n in expected[4:]},
        )
    else:
        assert found == [f"user{number}" for number in expected]


def test_total_results_of_a_page(crowd: Idp) -> None:
    assert crowd.list("Users", cursor="", count=2)["totalResults"] == 7


def test_by_post(crowd: Idp) -> None:
    body = {"schemas": [SEARCH], "filter": 'userName sw "user"', "cursor": "", "count": 5}
    first = crowd.send("POST", "/Users/.search", body).ok()
    second = crowd.send("POST", "/Users/.search", {**body, "cursor": first["nextCursor"]}).ok()
    assert (len(first["Resources"]), len(second["Resources"])) == (5, 2)
    assert "nextCursor" not in second


def test_at_the_root(crowd: Idp) -> None:
    crowd.group("Tour Guides")
    first = crowd.send("POST", "/.search", {"schemas": [SEARCH], "cursor": "", "count": 5}).ok()
    second = crowd.send("POST", "/.search", {"schemas": [SEARCH], "cursor": first["nextCursor"], "count": 5}).ok()
    assert len({one["id"] for one in first["Resources"] + second["Resources"]}) == 8


def test_whoever_is_new_or_gone_moves_nobody_else(crowd: Idp) -> None:
    first = crowd.list("Users", cursor="", count=3)
    crowd.delete(f"/Users/{first['Resources'][0]['id']}")
    crowd.user("user7")
    second = crowd.list("Users", cursor=first["nextCursor"], count=3)
    assert [one["userName"] for one in second["Resources"]] == ["user3", "user4", "user5"]


def test_invalid_cursors(crowd: Idp, new_idp: NewIdp) -> None:
    good = crowd.list("Users", cursor="", count=2)["nextCursor"]
    elsewhere = new_idp()
    elsewhere.user()
    for case, answer in {
        "nonsense": crowd.search("Users", cursor="VZUTiyhEQJ94IR", count=2),
        "changed": crowd.search("Users", cursor=good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), count=2),
        "other filter": crowd.search("Users", "title pr", cursor=good, count=2),
        "other sort": crowd.search("Users", cursor=good, count=2, sortBy="title"),
        "other type": crowd.search("Groups", cursor=good, count=2),
        "other tenant": elsewhere.search("Users", cursor=good, count=2),
    }.items():
        assert answer.error == (400, "invalidCursor"), case


def test_invalid_count(crowd: Idp) -> None:
    assert crowd.search("Users", cursor="", count="many").error == (400, "invalidCount")


def test_advertised_section_4(idp: Idp) -> None:
    pagination = idp.get("/ServiceProviderConfig")["pagination"]
    assert (pagination["cursor"], pagination["index"]) == (True, True)
    assert pagination["defaultPaginationMethod"] == "index"
    assert pagination["maxPageSize"] == idp.get("/ServiceProviderConfig")["filter"]["maxResults"] == 200
    assert (pagination["defaultPageSize"], pagination["cursorTimeout"]) == (100, 3600)
