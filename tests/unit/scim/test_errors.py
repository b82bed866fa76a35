"""Errors: RFC 7644 section 3.12."""

import pytest

from control_plane.scim import errors
from control_plane.scim.errors import ScimError, error_body, from_wire

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ScimError)]


def test_status_is_a_string_in_the_body() -> None:
    assert error_body(errors.Uniqueness("userName is taken")) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "scimType": "uniqueness",
        "detail": "userName is taken",
        "status": "409",
    }


def test_an_error_without_a_keyword_has_no_scim_type() -> None:
    assert "scimType" not in error_body(errors.ResourceNotFound("gone"))


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not ScimError])
def test_every_class_survives_the_wire(cls: type[ScimError]) -> None:
    found = from_wire(cls.status, cls.scim_type or "", "why")
    assert (type(found), found.detail) == (cls, "why")


def test_an_unknown_pair_is_passed_on_as_it_is() -> None:
    found = from_wire(418, "teapot", "short and stout")
    assert error_body(found)["status"] == "418"
    assert error_body(found)["scimType"] == "teapot"
    assert ScimError("x").status == 500


@pytest.mark.parametrize(
    ("keyword", "status"),
    [
        ("invalidFilter", 400), ("tooMany", 400), ("uniqueness", 409), ("mutability", 400), ("invalidSyntax", 400),
        ("invalidPath", 400), ("noTarget", 400), ("invalidValue", 400), ("invalidVers", 400), ("sensitive", 400),
    ],
)  # fmt: skip
def test_table_9_is_complete(keyword: str, status: int) -> None:
    assert [cls.status for cls in CLASSES if cls.scim_type == keyword] == [status]
