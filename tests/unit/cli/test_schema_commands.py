"""`muster schema`: what RFC 7643 section 7 writes as JSON, in and out."""

import json
from pathlib import Path
from typing import Any

import pytest

from protos.directory.v1 import directory_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin

URN = "urn:acme:hr"
DEFINITION: dict[str, Any] = {
    "id": URN,
    "name": "HR",
    "description": "What HR knows",
    "attributes": [
        {"name": "badge", "uniqueness": "server", "mutability": "immutable", "caseExact": True},
        {"name": "hiredAt", "type": "dateTime", "returned": "request"},
        {
            "name": "offices",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [{"name": "value", "required": True, "canonicalValues": ["A", "B"]}],
        },
    ],
}


def write(folder: Path, body: object) -> Path:
    file = folder / "schema.json"
    file.write_text(json.dumps(body))
    return file


def test_a_schema_is_created_from_the_rfcs_json(muster: Run, fake: FakeAdmin, tmp_path: Path) -> None:
    done = muster("schema", "create", "--tenant", "t", "--file", write(tmp_path, DEFINITION))
    assert done.exit_code == 0, done.stderr
    schema = fake.calls[0].schema
    assert (schema.tenant_id, schema.id, schema.resource_type) == ("t", URN, pb.RESOURCE_TYPE_USER)
    badge, hired, offices = schema.attributes
    assert (badge.type, badge.uniqueness, badge.mutability, badge.case_exact) == (
        pb.ATTRIBUTE_TYPE_STRING,
        pb.UNIQUENESS_SERVER,
        pb.MUTABILITY_IMMUTABLE,
        True,
    )
    assert (hired.type, hired.returned) == (pb.ATTRIBUTE_TYPE_DATE_TIME, pb.RETURNED_REQUEST)
    assert (offices.multi_valued, list(offices.sub_attributes[0].canonical_values)) == (True, ["A", "B"])
    assert [" ".join(line.split()) for line in done.stdout.splitlines()][-4:] == [
        "badge string case-exact, immutable, unique",
        "hiredAt dateTime returned: request",
        "offices complex list",
        "offices.value string required",
    ]


def test_what_is_shown_as_json_can_be_given_back(muster: Run, fake: FakeAdmin, tmp_path: Path) -> None:
    muster("schema", "create", "--tenant", "t", "--file", write(tmp_path, DEFINITION), "--resource-type", "group")
    shown = json.loads(muster("schema", "show", URN, "--tenant", "t", "--json").stdout)
    assert (shown["id"], shown["resourceType"]) == (URN, "Group")
    assert shown["attributes"][0]["uniqueness"] == "server"
    muster("schema", "create", "--tenant", "t", "--file", write(tmp_path, shown))
    assert fake.schemas[0] == fake.schemas[1]
    assert muster("schema", "update", "--tenant", "t", "--file", write(tmp_path, shown)).exit_code == 0
    assert fake.calls[-1].schema == fake.schemas[0]


def test_the_resource_type_of_an_update_need_not_be_said(muster: Run, fake: FakeAdmin, tmp_path: Path) -> None:
    done = muster("schema", "update", "--tenant", "t", "--file", write(tmp_path, DEFINITION))
    assert done.exit_code == 0, done.stderr
    assert fake.calls[0].schema.resource_type == pb.RESOURCE_TYPE_UNSPECIFIED


def test_schemas_are_listed(muster: Run, tmp_path: Path) -> None:
    muster("schema", "create", "--tenant", "t", "--file", write(tmp_path, DEFINITION))
    assert f"{URN}  HR    User" in muster("schema", "list", "--tenant", "t").stdout
    (listed,) = json.loads(muster("schema", "list", "--tenant", "t", "--json").stdout)["schemas"]
    assert listed["id"] == URN


def test_a_schema_is_deleted_by_its_urn(muster: Run, fake: FakeAdmin) -> None:
    assert muster("schema", "delete", URN, "--tenant", "t").stdout == f"deleted {URN}\n"
    assert (fake.calls[0].tenant_id, fake.calls[0].id) == ("t", URN)
    assert json.loads(muster("schema", "delete", URN, "--tenant", "t", "--json").stdout) == {"deleted": URN}


def test_a_schema_that_is_not_there_is_one_line(muster: Run) -> None:
    done = muster("schema", "show", URN, "--tenant", "t")
    assert (done.exit_code, done.stderr) == (1, f"muster: schema {URN} not found\n")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "must hold one JSON object"),
        ({}, "is not a URN"),
        ({**DEFINITION, "attributes": "badge"}, "attributes must be a list"),
        ({**DEFINITION, "attributes": [{"name": "a", "type": "text"}]}, "type must be one of"),
        ({**DEFINITION, "attributes": [{"name": "a", "mutability": "writeOnly"}]}, "a cannot be writeOnly"),
        ({**DEFINITION, "attributes": [{"name": "a", "uniqueness": "global"}]}, "a cannot be unique globally"),
        ({**DEFINITION, "resourceType": "Device"}, "User, Group"),
    ],
)
@pytest.mark.parametrize("verb", ["create", "update"])
def test_a_file_that_no_server_could_accept_is_explained(
    muster: Run, fake: FakeAdmin, tmp_path: Path, verb: str, body: object, says: str
) -> None:
    done = muster("schema", verb, "--tenant", "t", "--file", write(tmp_path, body))
    assert done.exit_code == 1
    assert says in done.stderr
    assert fake.calls == []


def test_a_file_that_cannot_be_read_is_explained(muster: Run, tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    assert "cannot be read" in muster("schema", "create", "--tenant", "t", "--file", missing).stderr
    missing.write_text("{")
    assert "is not JSON" in muster("schema", "create", "--tenant", "t", "--file", missing).stderr
