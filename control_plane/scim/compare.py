"""Operator rules by type (RFC 7644 table 3, RFC 7643 section 2.3): one stored value against one literal.

Shared by the evaluator and the SQL compiler, which asks here whether a comparison can be made at all. A value whose
JSON type is not the attribute's (its schema was deleted and defined anew) compares false to everything, also by ``ne``.
"""

import operator as op
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from control_plane.scim import quirks
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.filters import Literal, Operator
from control_plane.scim.schema import Attribute, AttributeType

_ORDER: Mapping[Operator, Callable[..., bool]] = {
    Operator.EQ: op.eq,
    Operator.NE: op.ne,
    Operator.GT: op.gt,
    Operator.GE: op.ge,
    Operator.LT: op.lt,
    Operator.LE: op.le,
}
_TEXT: Mapping[Operator, Callable[[str, str], bool]] = {
    Operator.CO: lambda stored, wanted: wanted in stored,
    Operator.SW: str.startswith,
    Operator.EW: str.endswith,
}
_EQUALITY = (Operator.EQ, Operator.NE)
# xsd:dateTime (RFC 7643 section 2.3.5), without the hour 24. What is no day of the calendar is left to the parser, also
# in the database, which uses both patterns as they are.
DATE_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)
BEYOND_MICROSECONDS = r"(\.[0-9]{6})[0-9]+"
_DATE_TIME = re.compile(DATE_TIME)
_BEYOND_MICROSECONDS = re.compile(BEYOND_MICROSECONDS)


def fold(text: str) -> str:
    """Return the key under which strings with caseExact false are compared (RFC 7643 section 2.2)."""
    return text.casefold()


def parse_date_time(text: str) -> datetime | None:
    """Return the moment that an xsd:dateTime spells, or None if it spells none. Without an offset it is UTC.

    Digits beyond the microsecond are cut.
    """
    if _DATE_TIME.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(_BEYOND_MICROSECONDS.sub(r"\1", text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def number(value: float) -> Decimal:
    """Return the decimal number that ``value`` is written as: 0.1 is one tenth, here as in the database."""
    return Decimal(repr(value))


def holds(attribute: Attribute, stored: object, operator: Operator, wanted: Literal) -> bool:
    """Whether ``stored <operator> wanted``. ``wanted`` is not null: that asks for presence, see the evaluator.

    InvalidFilter if the operator or the literal does not go with the attribute's type, whatever is stored.
    """
    match attribute.type:
        case AttributeType.BOOLEAN:
            return _boolean(attribute, stored, operator, wanted)
        case AttributeType.INTEGER | AttributeType.DECIMAL:
            return _number(attribute, stored, operator, wanted)
        case AttributeType.DATE_TIME:
            return _date_time(attribute, stored, operator, wanted)
        case AttributeType.COMPLEX:
            raise InvalidFilter(f"{attribute.name} is complex: compare one of its sub-attributes")
        case _:
            return _text(attribute, stored, operator, wanted)


def _boolean(attribute: Attribute, stored: object, operator: Operator, wanted: Literal) -> bool:
    # RFC 7644 table 3: "Boolean and Binary attributes SHALL cause a failed response" for gt, ge, lt and le.
    value = quirks.boolean(wanted)
    if value is None or operator not in _EQUALITY:
        raise InvalidFilter(f"{attribute.name} is a boolean: it can only be compared by eq or ne with true or false")
    return isinstance(stored, bool) and _ORDER[operator](stored, value)


def _number(attribute: Attribute, stored: object, operator: Operator, wanted: Literal) -> bool:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or operator not in _ORDER:
        raise InvalidFilter(f"{attribute.name} is a number: compare it with one, by eq, ne, gt, ge, lt or le")
    if isinstance(stored, bool) or not isinstance(stored, int | float):
        return False
    return _ORDER[operator](number(stored), number(wanted))


def _date_time(attribute: Attribute, stored: object, operator: Operator, wanted: Literal) -> bool:
    if operator not in _ORDER:
        return _text(attribute, stored, operator, wanted)
    value = parse_date_time(wanted) if isinstance(wanted, str) else None
    if value is None:
        raise InvalidFilter(f'{attribute.name} is a dateTime: compare it with one, as in "2011-05-13T04:42:34Z"')
    moment = parse_date_time(stored) if isinstance(stored, str) else None
    return moment is not None and _ORDER[operator](moment, value)


def _text(attribute: Attribute, stored: object, operator: Operator, wanted: Literal) -> bool:
    if not isinstance(wanted, str):
        raise InvalidFilter(f'{attribute.name} is a string: compare it with one, as in {attribute.name} eq "..."')
    if attribute.type is AttributeType.BINARY and operator in _ORDER and operator not in _EQUALITY:
        raise InvalidFilter(f"{attribute.name} is binary and has no order")
    if not isinstance(stored, str):
        return False
    if not attribute.case_exact:
        stored, wanted = fold(stored), fold(wanted)
    return _ORDER[operator](stored, wanted) if operator in _ORDER else _TEXT[operator](stored, wanted)
