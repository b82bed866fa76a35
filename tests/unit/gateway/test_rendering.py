"""Resources become SCIM JSON by splicing: the document's bytes stay as they are."""

from datetime import UTC, datetime

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.directory.v1.directory_pb2 import Resource
from scim_gateway.kinds import GROUP, USER, Kind
from scim_gateway.rendering import Renderer, timestamp
from scim_gateway.requests import Selection

BASE = "https://scim.example/scim/v2"
NOTHING = Selection("", "")
USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"


def resource(document: str, **fields: object) -> Resource:
    made = Resource(id="018f-1", version=7, document=document, **fields)  # type: ignore[arg-type]  # any field
    made.create_time.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, 6_000, tzinfo=UTC))
    made.update_time.FromDatetime(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    return made


def render(kind: Kind, of: Resource, chosen: Selection = NOTHING) -> dict[str, object]:
    rendered = Renderer(kind, BASE, chosen).render(of)
    body: dict[str, object] = orjson.loads(rendered.head + rendered.tail)
    return body


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00.000Z"),
        (1_772_357_400, 123_456_789, "2026-03-01T09:30:00.123Z"),
        (1_772_357_400, 999_999_999, "2026-03-01T09:30:00.999Z"),
    ],
)
def test_timestamps_are_utc_with_milliseconds(seconds: int, nanos: int, text: str) -> None:
    assert timestamp(Timestamp(seconds=seconds, nanos=nanos)) == text


def test_envelope_and_document_become_one_object() -> None:
    assert render(USER, resource('{"schemas":["x"],"userName":"ada"}')) == {
        "id": "018f-1",
        "meta": {
            "resourceType": "User",
            "created": "2026-01-02T03:04:05.006Z",
            "lastModified": "2026-01-02T03:04:06.000Z",
            "location": f"{BASE}/Users/018f-1",
            "version": 'W/"7"',
        },
        "schemas": ["x"],
        "userName": "ada",
    }


@pytest.mark.parametrize("document", ["{}", "{ }", ' {"a": 1}', '{"a":{}}\n', '{"name":"\\u00e9 } {"}'])
def test_every_spelling_of_an_object_can_be_spliced(document: str) -> None:
    body = render(USER, resource(document))
    assert {key: value for key, value in body.items() if key not in ("id", "meta")} == orjson.loads(document)


def test_the_document_passes_through_byte_for_byte() -> None:
    document = '{"userName" : "ada", "n":1.50, "e":"\\u00e9"}'
    assert document[1:].encode() in Renderer(USER, BASE, NOTHING).render(resource(document)).head


def test_inline_members_are_spliced_in() -> None:
    group = resource('{"displayName":"g"}', members='[{"value":"1"}]', member_count=1)
    assert render(GROUP, group)["members"] == [{"value": "1"}]


def test_a_group_without_members_has_no_members_attribute() -> None:
    assert "members" not in render(GROUP, resource('{"displayName":"g"}'))


def test_a_large_group_leaves_room_for_its_members() -> None:
    rendered = Renderer(GROUP, BASE, NOTHING).render(resource('{"displayName":"g"}', member_count=5_000))
    assert rendered.members_of == "018f-1"
    body = orjson.loads(rendered.head + b'{"value":"1"},{"value":"2"}' + rendered.tail)
    assert body["members"] == [{"value": "1"}, {"value": "2"}]
    assert body["displayName"] == "g"


@pytest.mark.parametrize(
    ("chosen", "present", "absent"),
    [
        (Selection("userName", ""), {"schemas", "id", "userName"}, {"displayName", "meta", "name"}),
        (Selection("USERNAME, name.givenName", ""), {"userName", "name"}, {"displayName"}),
        (Selection(f"{USER_SCHEMA}:displayName", ""), {"displayName", "id"}, {"userName"}),
        (Selection("", "displayName,meta"), {"id", "userName", "name"}, {"displayName", "meta"}),
        (Selection("nosuch", ""), {"schemas", "id"}, {"userName"}),
    ],
)
def test_selected_attributes(chosen: Selection, present: set[str], absent: set[str]) -> None:
    document = {
        "schemas": [USER_SCHEMA],
        "userName": "ada",
        "displayName": "Ada",
        "name": {"givenName": "Ada", "familyName": "L"},
    }
    body = render(USER, resource(orjson.dumps(document).decode()), chosen)
    assert present <= body.keys()
    assert not absent & body.keys()


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        (NOTHING, True),
        (Selection("members", ""), True),
        (Selection("members.value", ""), True),
        (Selection("displayName", ""), False),
        (Selection("", "members"), False),
        (Selection("", "MEMBERS"), False),
        (Selection("", "displayName"), True),
    ],
)
def test_members_are_only_asked_for_when_they_will_be_shown(chosen: Selection, wanted: bool) -> None:
    assert Renderer(GROUP, BASE, chosen).wants_members is wanted
    body = render(GROUP, resource('{"displayName":"g"}', members='[{"value":"1"}]', member_count=1), chosen)
    assert ("members" in body) is wanted


def test_sub_attributes_of_streamed_members_are_selected_piece_by_piece() -> None:
    renderer = Renderer(GROUP, BASE, Selection("members.value", ""))
    assert renderer.members('{"value":"1","type":"User"},{"value":"2","type":"User"}') == b'{"value":"1"},{"value":"2"}'
    assert Renderer(GROUP, BASE, NOTHING).members('{"value":"1"}') == b'{"value":"1"}'
