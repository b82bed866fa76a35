"""JSON and text in SQL: the typed values of a document, each null where the JSON is of another type."""

import operator as op
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Numeric, Text, case, cast, func, literal, literal_column
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from control_plane.scim.compare import BEYOND_MICROSECONDS, DATE_TIME, fold, parse_date_time
from control_plane.scim.filters import Operator
from control_plane.scim.schema import Attribute
from control_plane.storage.predicates import Predicate, known

Expression = ColumnElement[Any]

# Built-in in PostgreSQL 18, the same on every machine, and equal to Python's casefold (a test compares all letters).
FOLDING = "pg_unicode_fast"
# By code point, as Python compares.
BYTES = "C"
ORDER: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQ: op.eq,
    Operator.NE: op.ne,
    Operator.GT: op.gt,
    Operator.GE: op.ge,
    Operator.LT: op.lt,
    Operator.LE: op.le,
}
Moment = TIMESTAMP(timezone=True)


def constant_json(text: str) -> Expression:
    """Return a constant of this file's users, never a value from outside."""
    return literal_column(f"'{text}'::jsonb", JSONB)


def member_of(holder: Expression, name: str) -> Expression:
    """Return the JSON of one member of an object; null if there is none."""
    return holder.op("->", return_type=JSONB())(literal(name, Text))


def elements_of(json: Expression) -> Expression:
    """Return an array; whatever else it is becomes the only element of one."""
    return case((func.jsonb_typeof(json) == "array", json), else_=func.jsonb_build_array(json))


def json_text(json: Expression) -> Expression:
    """Return the text of a JSON string."""
    return case((func.jsonb_typeof(json) == "string", json.op("#>>", return_type=Text())(literal_column("'{}'"))))


def json_number(json: Expression) -> Expression:
    """Return a JSON number."""
    return case((func.jsonb_typeof(json) == "number", cast(json, Numeric)))


def json_moment(json: Expression) -> Expression:
    """Return the moment that a JSON string spells as xsd:dateTime."""
    text = json_text(json)
    cut = func.regexp_replace(text, BEYOND_MICROSECONDS, r"\1", type_=Text)
    is_moment = text.op("~", is_comparison=True)(f"^(?:{DATE_TIME})$")
    return case((is_moment & func.pg_input_is_valid(cut, "timestamptz"), cast(cut, Moment)))


def folded(text: Expression) -> Expression:
    """Return ``text`` in the form in which caseExact=false strings are equal."""
    return func.casefold(text.collate(FOLDING), type_=Text).collate(BYTES)


def comparable_text(attribute: Attribute, text: Expression) -> Expression:
    """Return ``text`` in the form in which values of ``attribute`` are compared."""
    return text.collate(BYTES) if attribute.case_exact else folded(text)


def text_literal(attribute: Attribute, wanted: object) -> Expression:
    """Return a literal in the form in which values of ``attribute`` are compared."""
    assert isinstance(wanted, str)
    # Folded by both: letters that are younger than this Python are only folded by the database.
    return literal(wanted, Text) if attribute.case_exact else folded(literal(fold(wanted), Text))


def moment_literal(wanted: object) -> Expression:
    """Return the moment of a literal that was checked to spell one."""
    found = parse_date_time(str(wanted))
    assert found is not None
    return cast(literal(found.isoformat(), Text), Moment)


def text_holds(stored: Expression, operator: Operator, wanted: Expression) -> Predicate:
    """Whether two texts in comparable form compare so: by code point (RFC 7644 leaves the order open)."""
    match operator:
        case Operator.CO:
            return known(func.strpos(stored, wanted) > 0)
        case Operator.SW:
            return known(func.starts_with(stored, wanted))
        case Operator.EW:
            return known(func.right(stored, func.length(wanted)) == wanted)
        case _:
            return known(ORDER[operator](stored, wanted))
