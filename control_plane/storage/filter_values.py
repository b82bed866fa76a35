"""The values that a filter compares, in SQL: what each operator means for a piece of JSON, a column, a row.

A :class:`Value` is one value, or none where its expression is null. :class:`Values` are all that an attribute has; the
only question they answer is whether one of them fulfils a condition, which is all that filters ask (evaluate.py).
Every condition is true or false, never null.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Numeric, Text, cast, column, exists, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

from control_plane.domain.ids import parse_resource_id
from control_plane.scim import compare, quirks
from control_plane.scim.compare import fold, number
from control_plane.scim.filters import Literal, Operator
from control_plane.scim.schema import Attribute, AttributeType
from control_plane.storage.json_sql import (
    BYTES,
    ORDER,
    Expression,
    Moment,
    comparable_text,
    constant_json,
    elements_of,
    json_moment,
    json_number,
    json_text,
    member_of,
    moment_literal,
    text_holds,
    text_literal,
)
from control_plane.storage.predicates import ALWAYS, NEVER, Predicate, constant, known, negated

Condition = Callable[["Value"], Predicate]
# Of the attribute, the operator and the literal, which is not None: they were checked to go together.
Holds = Callable[[Attribute, Operator, Literal], Predicate]

_NULL, _TRUE, _FALSE = (constant_json(word) for word in ("null", "true", "false"))
_EMPTY = tuple(constant_json(text) for text in ("null", '""', "[]", "{}"))


@dataclass(frozen=True, slots=True)
class Values:
    """The values of ``attribute``; ``any(condition)`` is whether one of them fulfils the condition.

    The attribute is None if only another resource type of a root query has it: there are no values then.
    """

    attribute: Attribute | None
    any: Callable[[Condition], Predicate]

    def sub(self, attribute: Attribute) -> "Values":
        """Return the values of a sub-attribute in all values."""
        return Values(attribute, lambda condition: self.any(lambda value: value.sub(attribute).any(condition)))


def one(attribute: Attribute, value: "Value") -> Values:
    """Return the values of an attribute that has at most one."""
    return Values(attribute, lambda condition: condition(value))


def none(attribute: Attribute | None) -> Values:
    """Return no values."""
    return Values(attribute, lambda _: NEVER)


def in_json(attribute: Attribute, holder: Expression) -> Values:
    """Return the values of ``attribute`` in a JSON object."""
    json = member_of(holder, attribute.name)
    if not attribute.multi_valued:
        return one(attribute, json_value(json))
    return Values(attribute, lambda condition: _any_element(json, condition))


@dataclass(frozen=True, slots=True)
class Value:
    """Whether there is a value at all, whether it is not empty, how it compares, and what is below it."""

    assigned: Predicate
    present: Predicate
    holds: Holds
    sub: Callable[[Attribute], Values] = none


def json_value(json: Expression) -> Value:
    """Return a piece of a document as a value."""

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        match attribute.type:
            case AttributeType.BOOLEAN:
                return known(json == (_TRUE if _is_true(operator, wanted) else _FALSE))
            case AttributeType.INTEGER | AttributeType.DECIMAL:
                assert isinstance(wanted, int | float)
                return known(ORDER[operator](json_number(json), literal(number(wanted), Numeric)))
            case AttributeType.DATE_TIME if operator in ORDER:
                return known(ORDER[operator](json_moment(json), moment_literal(wanted)))
            case _:
                return _text_holds(json_text(json), attribute, operator, wanted)

    return Value(known(json != _NULL), known(json.not_in(_EMPTY)), holds, lambda attribute: in_json(attribute, json))


def text_value(text: Expression, key: Expression | None = None) -> Value:
    """Return a text as a value; ``key`` is the column that has it folded by us, where there is one."""

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        if attribute.case_exact or key is None:
            return _text_holds(text, attribute, operator, wanted)
        return text_holds(key, operator, literal(fold(str(wanted)), Text))

    return Value(text.is_not(None), known(text != ""), holds)


def id_value(ids: Expression) -> Value:
    """Return the id of a resource, a column without nulls, as a value."""

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        text = str(wanted) if attribute.case_exact else fold(str(wanted))
        if operator not in (Operator.EQ, Operator.NE):
            return text_holds(cast(ids, Text).collate(BYTES), operator, literal(text, Text))
        wanted_id = parse_resource_id(text)
        is_it = ids == wanted_id if wanted_id is not None else NEVER
        return is_it if operator is Operator.EQ else negated(is_it)

    return Value(ALWAYS, ALWAYS, holds)


def moment_value(moments: Expression) -> Value:
    """Return a moment, a column without nulls in microseconds, as a value that is shown and compared in milliseconds.

    Never the bare column: a range of it would open the index whose condition says no more than that (filter_walks.py).
    """
    shown = func.date_trunc("milliseconds", moments, type_=Moment)

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        if operator in ORDER:
            return known(ORDER[operator](shown, moment_literal(wanted)))
        text = func.to_char(func.timezone("UTC", shown), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"', type_=Text)
        return _text_holds(text, attribute, operator, wanted)

    return Value(ALWAYS, ALWAYS, holds)


def fixed_value(text: str) -> Value:
    """Return a text that is known while compiling as a value."""

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        return constant(compare.holds(attribute, text, operator, wanted))

    return Value(ALWAYS, ALWAYS, holds)


def row_value(subs: Mapping[str, Value], asked: set[str] | None = None) -> Value:
    """Return a complex value that is made of columns: a member, a group, meta.

    ``asked`` collects the sub-attributes that conditions use.
    """

    def holds(attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
        raise AssertionError(f"{attribute.name} {operator} {wanted}: complex values are compared by their parts")

    def sub(attribute: Attribute) -> Values:
        if asked is not None:
            asked.add(attribute.name)
        value = subs.get(attribute.name)
        return one(attribute, value) if value is not None else none(attribute)

    return Value(ALWAYS, ALWAYS, holds, sub)


def _any_element(json: Expression, condition: Condition) -> Predicate:
    elements = func.jsonb_array_elements(elements_of(json), type_=JSONB).table_valued(column("value", JSONB))
    found = condition(json_value(elements.c.value))
    if found is NEVER:
        return NEVER
    return exists(select(literal_column("1")).select_from(elements).where(found).correlate_except(elements))


def _text_holds(text: Expression, attribute: Attribute, operator: Operator, wanted: Literal) -> Predicate:
    return text_holds(comparable_text(attribute, text), operator, text_literal(attribute, wanted))


def _is_true(operator: Operator, wanted: Literal) -> bool:
    """Whether ``eq`` or ``ne`` a boolean asks for true."""
    return quirks.boolean(wanted) is (operator is Operator.EQ)
