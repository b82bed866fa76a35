"""Resources become SCIM JSON by splicing: the bytes of documents, members, groups and selections stay as they are."""

from datetime import UTC, datetime

import orjson
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from protos.directory.v1.directory_pb2 import RESOURCE_TYPE_GROUP, RESOURCE_TYPE_USER, Resource
from scim_gateway.rendering import is_inline, render, timestamp

BASE = "https://scim.example/scim/v2"


def resource(document: str = "", **fields: object) -> Resource:
    kind = fields.pop("type", RESOURCE_TYPE_USER)
    made = Resource(id="018f-1", type=kind, version=7, document=document, **fields)  # type: ignore[arg-type]  # any field
    made.create_time.FromDatetime(datetime(2026, 1, 2, 3, 4, 5, 6_000, tzinfo=UTC))
    made.update_time.FromDatetime(datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))
    return made


def group(document: str = '{"displayName":"g"}', **fields: object) -> Resource:
    return resource(document, type=RESOURCE_TYPE_GROUP, **fields)


def parsed(of: Resource) -> dict[str, object]:
    rendered = render(of, BASE)
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
    assert parsed(resource('{"schemas":["x"],"userName":"ada"}')) == {
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


def test_each_resource_is_rendered_by_its_own_type() -> None:
    meta = parsed(group())["meta"]
    assert isinstance(meta, dict)
    assert (meta["resourceType"], meta["location"]) == ("Group", f"{BASE}/Groups/018f-1")


@pytest.mark.parametrize("document", ["{}", "{ }", ' {"a": 1}', '{"a":{}}\n', '{"name":"\\u00e9 } {"}'])
def test_every_spelling_of_an_object_can_be_spliced(document: str) -> None:
    body = parsed(resource(document))
    assert {key: value for key, value in body.items() if key not in ("id", "meta")} == orjson.loads(document)


def test_the_document_passes_through_byte_for_byte() -> None:
    document = '{"userName" : "ada", "n":1.50, "e":"\\u00e9"}'
    assert document[1:].encode() in render(resource(document), BASE).head


def test_inline_members_and_groups_are_spliced_in() -> None:
    assert parsed(group(members='[{"value":"1"}]', member_count=1))["members"] == [{"value": "1"}]
    assert parsed(resource('{"userName":"ada"}', groups='[{"value":"g"}]'))["groups"] == [{"value": "g"}]


def test_what_is_empty_is_not_there() -> None:
    assert not {"members", "groups"} & parsed(group()).keys()


@pytest.mark.parametrize(
    "of",
    [
        group(member_count=1_001),
        group("{}", member_count=1),
        group("", selected='{"id":"018f-1","displayName":"g"} ', member_count=1_001),
    ],
)
def test_a_large_group_leaves_room_for_its_members(of: Resource) -> None:
    assert not is_inline(of)
    rendered = render(of, BASE)
    assert rendered.members_of == "018f-1"
    for streamed in (b"", b'{"value":"1"}', b'{"value":"1"},{"value":"2"}'):
        body = orjson.loads(rendered.head + streamed + rendered.tail)
        assert len(body["members"]) == streamed.count(b"{")
        assert body["id"] == "018f-1"


def test_a_selected_representation_passes_through_byte_for_byte() -> None:
    selected = '{"id" : "018f-1","members":[]}'
    rendered = render(group("", selected=selected), BASE)
    assert (rendered.head, rendered.tail, rendered.members_of) == (selected.encode(), b"", "")
