"""What an answer shows, through gRPC: selections, groups of users, pages by cursor, both types, tenants' switches."""

import json
from typing import Any

import grpc
import pytest

from protos.directory.v1 import directory_pb2 as pb
from tests.fixtures.control_plane import Plane
from tests.wire.conftest import refused
from tests.wire.test_directory import GROUP, USER, Directory, member_ids

BASE = "https://muster.example/scim/v2"


@pytest.fixture
async def directory(plane: Plane) -> Directory:
    return Directory(plane, await plane.tenant())


def selected(one: pb.Resource) -> dict[str, Any]:
    """The representation made for a selection; the stored parts must then be empty."""
    assert (one.document, one.members, one.groups) == ("", "", "")
    return dict(json.loads(one.selected))


async def test_a_selection_is_rendered_whole_with_id_and_schemas(directory: Directory) -> None:
    made = await directory.create(USER, userName="ada", title="t", name={"familyName": "L", "givenName": "A"})
    body = selected(await directory.read(made, attributes="userName,name.familyName"))
    assert body == {"id": made.id, "schemas": body["schemas"], "userName": "ada", "name": {"familyName": "L"}}
    body = selected(await directory.read(made, attributes="meta.location", reference_base=BASE))
    assert body["meta"] == {"location": f"{BASE}/Users/{made.id}"}
    body = selected(await directory.read(made, excluded_attributes="name,meta"))
    assert (body["title"], "name" in body, "meta" in body) == ("t", False, False)


async def test_without_a_selection_the_document_passes_as_stored(directory: Directory) -> None:
    made = await directory.create(USER, userName="ada")
    read = await directory.read(made)
    assert (read.selected, json.loads(read.document)["userName"]) == ("", "ada")


async def test_both_lists_of_attributes_are_refused_before_anything_is_written(directory: Directory) -> None:
    made = await directory.create(USER, userName="ada")
    change = {"op": "replace", "path": "title", "value": "new"}
    refusal = await refused(directory.patch(made, change, attributes="title", excluded_attributes="name"))
    assert refusal.info.metadata["scim_type"] == "invalidValue"
    assert (await directory.get(made)).version == 1


async def test_excluded_members_are_not_read_and_selected_ones_stand_in_the_selection(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada")
    group = await directory.create(GROUP, displayName="G", members=[{"value": ada.id}])
    without = await directory.read(group, excluded_attributes="members")
    assert ("members" in selected(without), without.member_count) == (False, 0)
    only = await directory.read(group, attributes="members.value")
    assert (selected(only)["members"], only.member_count) == ([{"value": ada.id}], 0)


async def test_a_user_shows_its_groups_direct_and_indirect(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada")
    inner = await directory.create(GROUP, displayName="Inner", members=[{"value": ada.id}])
    outer = await directory.create(GROUP, displayName="Outer", members=[{"value": inner.id}])
    # A circle must not go round for ever.
    add_back = {"op": "add", "path": "members", "value": [{"value": outer.id}]}
    await directory.patch(inner, add_back)
    groups = {one["value"]: one for one in json.loads((await directory.read(ada, reference_base=BASE)).groups)}
    assert {one: groups[one]["type"] for one in groups} == {inner.id: "direct", outer.id: "indirect"}
    assert (groups[inner.id]["display"], groups[inner.id]["$ref"]) == ("Inner", f"{BASE}/Groups/{inner.id}")
    listed = await directory.pages(type=USER, with_members=True)
    assert len(json.loads(listed[0].resources[0].groups)) == 2


async def test_cursors_walk_the_whole_list_once_and_are_bound_to_the_query(directory: Directory) -> None:
    names = [f"u{number:02d}" for number in range(7)]
    for name in reversed(names):
        await directory.create(USER, userName=name)
    seen, cursor = [], ""
    for _ in range(4):
        page = (await directory.pages(type=USER, count=2, sort_by="userName", cursor=cursor))[0]
        assert page.total_results == 7
        seen += [one.user_name for one in page.resources]
        cursor = page.next_cursor
    assert (seen, cursor) == (names, "")
    first = (await directory.pages(type=USER, count=2, sort_by="userName", cursor=""))[0].next_cursor
    for other in ({"sort_by": "displayName"}, {"sort_by": "userName", "filter": "active eq true"}):
        refusal = await refused(directory.pages(type=USER, count=2, cursor=first, **other))
        assert refusal.info.metadata["scim_type"] == "invalidCursor"
    stranger = Directory(directory.plane, await directory.plane.tenant("Other"))
    refusal = await refused(stranger.pages(type=USER, count=2, sort_by="userName", cursor=first))
    assert refusal.info.metadata["scim_type"] == "invalidCursor"


async def test_a_query_of_the_root_finds_both_types(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada", displayName="Same")
    group = await directory.create(GROUP, displayName="Same")
    await directory.create(GROUP, displayName="Other")
    pages = await directory.pages(filter='displayName eq "same"')
    assert pages[0].total_results == 2
    assert [(one.type, one.id) for one in pages[0].resources] == [(USER, ada.id), (GROUP, group.id)]
    # RFC 7644 section 3.4.2.1: an attribute that a type lacks has no value there.
    pages = await directory.pages(filter='userName eq "ada" or members pr')
    assert [one.id for one in pages[0].resources] == [ada.id]


@pytest.mark.parametrize("given", ['W/"1"', '"1"', 'W/"7", W/"1"', "*"])
async def test_if_none_match_refuses_a_write_of_the_version_it_names(directory: Directory, given: str) -> None:
    made = await directory.create(USER, userName="ada")
    change = {"op": "replace", "path": "title", "value": "new"}
    refusal = await refused(directory.patch(made, change, none_match_etag=given))
    assert refusal.info.metadata["status"] == "412"


async def test_group_names_are_unique_unless_the_tenant_allows_doubles(directory: Directory) -> None:
    first = await directory.create(GROUP, displayName="Straße")
    refusal = await refused(directory.create(GROUP, displayName="STRASSE"))
    assert (refusal.code, refusal.info.metadata["scim_type"]) == (grpc.StatusCode.ALREADY_EXISTS, "uniqueness")
    other = await directory.create(GROUP, displayName="Other")
    rename = {"op": "replace", "path": "displayName", "value": "strasse"}
    assert (await refused(directory.patch(other, rename))).info.metadata["scim_type"] == "uniqueness"
    # Its own name in another case is nobody else's.
    assert (await directory.patch(first, rename)).changed
    await directory.set_switch(unique_group_names=False)
    assert (await directory.create(GROUP, displayName="STRASSE")).version == 1


async def test_unknown_members_are_refused_where_the_tenant_wants_it(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada")
    await directory.set_switch(reject_unknown_members=True)
    members = [{"value": ada.id}, {"value": "made-up"}]
    refusal = await refused(directory.create(GROUP, displayName="G", members=members))
    assert refusal.info.metadata["scim_type"] == "invalidValue"
    assert "made-up" in refusal.text
    assert (await directory.find(GROUP))[0] == 0
    group = await directory.create(GROUP, displayName="G", members=members[:1])
    add = {"op": "add", "path": "members", "value": members}
    assert "made-up" in (await refused(directory.patch(group, add))).text
    assert member_ids(await directory.get(group)) == {ada.id}


async def test_a_put_without_members_keeps_them_where_the_tenant_wants_it(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada")
    group = await directory.create(GROUP, displayName="G", members=[{"value": ada.id}])
    await directory.set_switch(put_keeps_members=True)
    assert member_ids(await directory.replace(group, displayName="G2")) == {ada.id}
    assert member_ids(await directory.replace(group, displayName="G2", members=[])) == set()


async def test_a_put_without_active_follows_the_switch(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada", active=False)
    assert not (await directory.replace(ada, userName="ada")).active
    await directory.set_switch(put_keeps_active=False)
    assert (await directory.replace(ada, userName="ada")).active


async def test_members_are_removed_by_any_selection(directory: Directory) -> None:
    ada = await directory.create(USER, userName="ada", displayName="Ada")
    team = await directory.create(GROUP, displayName="Team")
    group = await directory.create(GROUP, displayName="G", members=[{"value": ada.id}, {"value": team.id}])
    gone = await directory.patch(group, {"op": "remove", "path": 'members[type eq "Group"]'})
    assert member_ids(gone.resource) == {ada.id}
    gone = await directory.patch(group, {"op": "remove", "path": 'members[display sw "AD"]'})
    assert (member_ids(gone.resource), gone.resource.version) == (set(), 3)
