"""RFC 7644 section 3.14 and RFC 9110 section 13: ETag, If-None-Match, If-Match."""

import pytest

from tests.conformance.client import Idp, Json, a_user

TITLE: Json = {"op": "replace", "path": "title", "value": "Guide"}


def test_the_example_of_3_14(idp: Idp) -> None:
    made = idp.send("POST", "/Users", a_user("bjensen", name={"givenName": "Barbara"}))
    assert made.etag == made.json["meta"]["version"]
    target = f"/Users/{made.json['id']}?attributes=displayName"
    assert idp.send("GET", target, If_None_Match=made.etag).status == 304
    changed = idp.send("PATCH", f"/Users/{made.json['id']}", {"Operations": [TITLE]})
    assert changed.etag not in ("", made.etag)
    again = idp.send("GET", target, If_None_Match=made.etag)
    assert (again.status, again.etag) == (200, changed.etag)


def _tags(current: str) -> dict[str, str]:
    strong = current.removeprefix("W/")
    return {"current": current, "strong": strong, "old": 'W/"0"', "list": f'W/"0", {current}', "others": '"a", W/"b"'}


MATCHING = [("current", True), ("strong", True), ("list", True), ("*", True), ("old", False), ("others", False)]


@pytest.mark.parametrize(("tag", "matches"), MATCHING)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_if_match(idp: Idp, method: str, tag: str, matches: bool) -> None:
    user = idp.user("bjensen")
    header = _tags(user["meta"]["version"]).get(tag, tag)
    body = {"PUT": a_user("bjensen", title="x"), "PATCH": {"Operations": [TITLE]}, "DELETE": None}[method]
    answer = idp.send(method, f"/Users/{user['id']}", body, If_Match=header)
    if matches:
        assert answer.status in (200, 204)
        return
    assert answer.error == (412, None)
    assert idp.get(f"/Users/{user['id']}") == user


@pytest.mark.parametrize(("tag", "matches"), MATCHING)
def test_if_none_match_on_get(idp: Idp, tag: str, matches: bool) -> None:
    user = idp.user("bjensen")
    header = _tags(user["meta"]["version"]).get(tag, tag)
    answer = idp.send("GET", f"/Users/{user['id']}", If_None_Match=header)
    assert answer.status == (304 if matches else 200)
    assert answer.etag == user["meta"]["version"]


def test_groups_have_versions_too(idp: Idp) -> None:
    user, group = idp.user(), idp.group("Tour Guides")
    target, old = f"/Groups/{group['id']}", group["meta"]["version"]
    assert idp.send("GET", target, If_None_Match=old).status == 304
    idp.patch(target, {"op": "add", "path": "members", "value": [{"value": user["id"]}]}, If_Match=old)
    assert idp.send("GET", target, If_None_Match=old).status == 200
    assert idp.try_patch(target, {"op": "remove", "path": "members"}, If_Match=old).error == (412, None)
    assert idp.members(group["id"]) == {user["id"]}


def test_of_nobody_it_stays_404(idp: Idp) -> None:
    user = idp.user()
    idp.delete(f"/Users/{user['id']}")
    for method, body in (("PATCH", {"Operations": [TITLE]}), ("DELETE", None), ("GET", None)):
        answer = idp.send(method, f"/Users/{user['id']}", body, If_Match=user["meta"]["version"])
        assert answer.status == 404
