"""Filters: the syntax tree, the parser, and the writer (RFC 7644 section 3.4.2.2, figure 1).

``parse_filter(write_filter(f)) == f`` holds for every tree within the limits. Precedence from high to low: grouping,
``not``, ``and``, ``or``. Names, operators and the words true, false, null are read in any case.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

import orjson

from control_plane.scim.attribute_path import AttributePath, parse_attribute_path
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.lexer import Kind, Token, tokens
from control_plane.scim.registry import SchemaRegistry

MAX_TERMS = 32
MAX_DEPTH = 8
MAX_NUMBER = 2**63

Literal = str | int | float | bool | None


class Operator(StrEnum):
    """The comparison operators of RFC 7644 table 3; ``pr`` is :class:`Present`."""

    EQ = "eq"
    NE = "ne"
    CO = "co"
    SW = "sw"
    EW = "ew"
    GT = "gt"
    GE = "ge"
    LT = "lt"
    LE = "le"


@dataclass(frozen=True, slots=True)
class Compare:
    """``path operator value``; a ``value`` of None is the literal null."""

    path: AttributePath
    operator: Operator
    value: Literal


@dataclass(frozen=True, slots=True)
class Present:
    """``path pr``."""

    path: AttributePath


@dataclass(frozen=True, slots=True)
class Not:
    """``not (term)``."""

    term: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """Two or more terms joined by ``and``."""

    terms: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """Two or more terms joined by ``or``."""

    terms: "tuple[Filter, ...]"


@dataclass(frozen=True, slots=True)
class ValuePath:
    """``path[term]``: one element of a multi-valued attribute fulfils the whole term."""

    path: AttributePath
    term: "Filter"


Filter = Compare | Present | Not | And | Or | ValuePath


@dataclass(frozen=True, slots=True)
class Equality:
    """``attribute eq value`` on one of the attributes that have an index of their own: most of what IdPs ask."""

    attribute: str
    value: str


LOOKUP_ATTRIBUTES = ("id", "userName", "externalId", "displayName")


def parse_filter(text: str) -> Filter:
    """Return the tree of ``text``; InvalidFilter says what is wrong and where.

    Beyond the RFC, ``emails[type eq "work"].value eq "x"`` is read as ``emails[type eq "work" and value eq "x"]``:
    Entra matches users with it.
    """
    parser = _Parser(tokens(text))
    found = parser.disjunction()
    parser.expect(Kind.END)
    return found


def write_filter(node: Filter) -> str:
    """Return the canonical text of a tree."""
    match node:
        case Compare(path, operator, value):
            return f"{path} {operator} {orjson.dumps(value).decode()}"
        case Present(path):
            return f"{path} pr"
        case Not(term):
            return f"not ({write_filter(term)})"
        case And(terms):
            return " and ".join(f"({write_filter(t)})" if isinstance(t, And | Or) else write_filter(t) for t in terms)
        case Or(terms):
            return " or ".join(f"({write_filter(t)})" if isinstance(t, Or) else write_filter(t) for t in terms)
        case ValuePath(path, term):
            return f"{path}[{write_filter(term)}]"
        case _:
            assert_never(node)


def equality(node: Filter, resource_type_name: str, registry: SchemaRegistry) -> Equality | None:
    """Return ``node`` as the look-up that needs no compiling, or None if it is anything else."""
    if not isinstance(node, Compare) or node.operator is not Operator.EQ or not isinstance(node.value, str):
        return None
    target = registry.resolve(resource_type_name, node.path)
    if target is None or target.extension is not None or target.sub is not None:
        return None
    name = target.attribute.name
    return Equality(name, node.value) if name in LOOKUP_ATTRIBUTES else None


class _Parser:
    """Recursive descent over the tokens. The depth limit bounds the recursion, the term limit the tree."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self._terms = 0

    def disjunction(self) -> Filter:
        terms = [self._conjunction()]
        while self._take_word("or"):
            terms.append(self._conjunction())
        return Or(tuple(terms)) if len(terms) > 1 else terms[0]

    def expect(self, kind: Kind) -> Token:
        token = self._tokens[self._at]
        if token.kind is not kind:
            raise self._unexpected(token, kind.value)
        self._at += 1
        return token

    def _conjunction(self) -> Filter:
        terms = [self._factor()]
        while self._take_word("and"):
            terms.append(self._factor())
        return And(tuple(terms)) if len(terms) > 1 else terms[0]

    def _factor(self) -> Filter:
        if self._peek(Kind.OPEN):
            return self._grouped(Kind.OPEN, Kind.CLOSE)
        if self._take_word("not"):
            return Not(self._grouped(Kind.OPEN, Kind.CLOSE))
        token = self.expect(Kind.WORD)
        path = parse_attribute_path(token.text)
        if path is None:
            raise InvalidFilter(f"{token.text!r} at position {token.at + 1} is not an attribute name")
        if self._peek(Kind.OPEN_VALUE):
            return self._value_path(path)
        return self._expression(path)

    def _grouped(self, opening: Kind, closing: Kind) -> Filter:
        self.expect(opening)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidFilter(f"the filter is nested more than {MAX_DEPTH} levels deep")
        found = self.disjunction()
        self.expect(closing)
        self._depth -= 1
        return found

    def _value_path(self, path: AttributePath) -> Filter:
        term = self._grouped(Kind.OPEN_VALUE, Kind.CLOSE_VALUE)
        if not self._peek(Kind.SUB):
            return ValuePath(path, term)
        sub = AttributePath(None, self.expect(Kind.SUB).text[1:])
        condition = self._expression(sub)
        return ValuePath(path, And((*term.terms, condition) if isinstance(term, And) else (term, condition)))

    def _expression(self, path: AttributePath) -> Filter:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise InvalidFilter(f"the filter has more than {MAX_TERMS} terms")
        if self._take_word("pr"):
            return Present(path)
        token = self.expect(Kind.WORD)
        try:
            operator = Operator(token.text.lower())
        except ValueError:
            raise self._unexpected(token, "an operator (eq, ne, co, sw, ew, gt, ge, lt, le, pr)") from None
        return Compare(path, operator, self._literal())

    def _literal(self) -> Literal:
        token = self._tokens[self._at]
        self._at += 1
        text = token.text
        if token.kind is Kind.WORD and text.lower() in ("true", "false", "null"):
            text = text.lower()
        elif token.kind not in (Kind.STRING, Kind.NUMBER):
            raise self._unexpected(token, "a value (strings stand in double quotes)")
        try:
            value: Literal = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise self._unexpected(token, "a JSON value") from None
        if isinstance(value, str) and "\x00" in value:
            raise InvalidFilter("a string of the filter holds the character NUL")
        if isinstance(value, int | float) and not -MAX_NUMBER < value < MAX_NUMBER:
            raise InvalidFilter("the filter holds a number outside the signed 64-bit range")
        return value

    def _peek(self, kind: Kind) -> bool:
        return self._tokens[self._at].kind is kind

    def _take_word(self, word: str) -> bool:
        token = self._tokens[self._at]
        taken = token.kind is Kind.WORD and token.text.lower() == word
        self._at += taken
        return taken

    def _unexpected(self, token: Token, wanted: str) -> InvalidFilter:
        found = repr(token.text[:100]) if token.text else token.kind.value
        return InvalidFilter(f"the filter has {found} at position {token.at + 1}, expected {wanted}")
