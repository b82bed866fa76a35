"""Why something was refused, said without the values of the refused request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.scim.errors import InvalidSyntax, InvalidValue, NoTarget, ScimError, Uniqueness
from control_plane.services.refusal_text import MAX_DOCUMENT_BYTES, MIN_VALUE, scim_reason, without_values

CASES: tuple[tuple[ScimError, object, str], ...] = (
    (Uniqueness("userName 'ada' is taken"), {"userName": "ada"}, "409 uniqueness: userName … is taken"),
    (InvalidValue("active must be a boolean"), {"active": "ada"}, "400 invalidValue: active must be a boolean"),
    (NoTarget("no element of emails matches value eq ada"), {"path": "emails[value eq ada]"},
     "400 noTarget: no element of … matches … eq …"),
    (InvalidValue("nobody has ada lovelace"), {"name": "Ms ada lovelace"}, "400 invalidValue: nobody has … …"),
    (InvalidValue("ask ada@example.org or 'half"), {}, "400 invalidValue: ask … or …"),
    (InvalidSyntax("the body is not valid JSON: line 1"), "{", "400 invalidSyntax: the body is not valid JSON: line 1"),
    (InvalidValue("title must be a string"), {"op": "add", "path": "title", "value": 1},
     "400 invalidValue: title must be a string"),
)  # fmt: skip


@pytest.mark.parametrize(("err", "document", "said"), CASES)
def test_a_reason_has_names_and_no_values(err: ScimError, document: object, said: str) -> None:
    assert scim_reason(err, document) == said  # type: ignore[arg-type]  # test data


def test_of_a_large_document_nothing_is_told() -> None:
    document = json.dumps({"userName": "ada" * MAX_DOCUMENT_BYTES})
    assert scim_reason(Uniqueness("userName ada is taken"), document) == "409 uniqueness"


@given(st.text(st.characters(categories=["L", "N"]), min_size=MIN_VALUE, max_size=50))
def test_no_value_of_the_document_comes_through(value: str) -> None:
    document = json.dumps({"Operations": [{"op": "add", "path": "x", "value": {"formatted": [f"a {value}"]}}]})
    said = scim_reason(InvalidValue(f"there is {value} in it, {value}"), document)
    assert value not in said.removeprefix("400 invalidValue: ").replace("there is ", "").replace(" in it, ", "")


def test_quotes_and_addresses_go() -> None:
    assert without_values("""a 'b c' d "e" f@g h""") == "a … d … … h"
