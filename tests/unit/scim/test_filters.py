"""The filter language: RFC 7644 section 3.4.2.2."""

import pytest
from hypothesis import given, settings

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.filters import (
    And,
    Compare,
    Equality,
    Filter,
    Literal,
    Not,
    Operator,
    Or,
    Present,
    ValuePath,
    equality,
    parse_filter,
    write_filter,
)
from control_plane.scim.lexer import MAX_FILTER_BYTES
from tests.unit.scim.samples import ENTERPRISE, REGISTRY
from tests.unit.scim.strategies import FILTERS

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"


def _path(text: str, urn: str | None = None) -> AttributePath:
    name, _, sub = text.partition(".")
    return AttributePath(urn, name, sub or None)


def _compare(path: str, operator: str, value: Literal) -> Compare:
    return Compare(_path(path), Operator(operator), value)


WORK = _compare("type", "eq", "work")

# RFC 7644 figure 2, in its order, and a few more.
EXAMPLES: list[tuple[str, Filter]] = [
    ('userName eq "bjensen"', _compare("userName", "eq", "bjensen")),
    ('name.familyName co "O\'Malley"', _compare("name.familyName", "co", "O'Malley")),
    ('userName sw "J"', _compare("userName", "sw", "J")),
    (f'{USER_URN}:userName sw "J"', Compare(_path("userName", USER_URN), Operator.SW, "J")),
    ("title pr", Present(_path("title"))),
    ('meta.lastModified gt "2011-05-13T04:42:34Z"', _compare("meta.lastModified", "gt", "2011-05-13T04:42:34Z")),
    ('title pr and userType eq "Employee"', And((Present(_path("title")), _compare("userType", "eq", "Employee")))),
    ('title pr or userType eq "Intern"', Or((Present(_path("title")), _compare("userType", "eq", "Intern")))),
    (
        'schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"',
        _compare("schemas", "eq", ENTERPRISE),
    ),
    (
        'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")',
        And((
            _compare("userType", "eq", "Employee"),
            Or((_compare("emails", "co", "example.com"), _compare("emails.value", "co", "example.org"))),
        )),
    ),
    (
        'userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")',
        And((
            _compare("userType", "ne", "Employee"),
            Not(Or((_compare("emails", "co", "example.com"), _compare("emails.value", "co", "example.org")))),
        )),
    ),
    (
        'userType eq "Employee" and (emails.type eq "work")',
        And((_compare("userType", "eq", "Employee"), _compare("emails.type", "eq", "work"))),
    ),
    (
        'userType eq "Employee" and emails[type eq "work" and value co "@example.com"]',
        And((
            _compare("userType", "eq", "Employee"),
            ValuePath(_path("emails"), And((WORK, _compare("value", "co", "@example.com")))),
        )),
    ),
    (
        'emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]',
        Or((
            ValuePath(_path("emails"), And((WORK, _compare("value", "co", "@example.com")))),
            ValuePath(_path("ims"), And((_compare("type", "eq", "xmpp"), _compare("value", "co", "@foo.com")))),
        )),
    ),
    ("a eq 1 or b eq 2 and c eq 3",
     Or((_compare("a", "eq", 1), And((_compare("b", "eq", 2), _compare("c", "eq", 3)))))),
    ("active eq true", _compare("active", "eq", True)),
    ("active EQ True", _compare("active", "eq", True)),
    ("x eq null", _compare("x", "eq", None)),
    ("x eq -1.5e3", _compare("x", "eq", -1500.0)),
    ('x eq "\\u00e9\\"\\\\"', _compare("x", "eq", 'é"\\')),
    (f'{ENTERPRISE}:manager.$ref eq "x"', Compare(AttributePath(ENTERPRISE, "manager", "$ref"), Operator.EQ, "x")),
    ("\t title   PR  AnD ( title pr )", And((Present(_path("title")), Present(_path("title"))))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_parse(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


def test_entra_names_a_sub_attribute_after_the_brackets() -> None:
    assert parse_filter('emails[type eq "work"].value eq "a@b"') == parse_filter(
        'emails[type eq "work" and value eq "a@b"]'
    )
    assert parse_filter('emails[type eq "work" or type eq "home"].value pr') == parse_filter(
        'emails[(type eq "work" or type eq "home") and value pr]'
    )


@settings(max_examples=100, deadline=None)
@given(FILTERS)
def test_what_is_written_reads_the_same(tree: Filter) -> None:
    # Trees over a limit are drawn now and then: they are refused as such and as nothing else.
    text = write_filter(tree)
    try:
        found = parse_filter(text)
    except InvalidFilter as err:
        assert "more than" in err.detail or "longer" in err.detail  # noqa: PT017 - both outcomes are right
    else:
        assert found == tree
        assert write_filter(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "userName", "userName eq", 'userName "x"', "userName eq bjensen", "userName sw O",
        'userName xx "x"', 'eq "x"', 'userName eq "x" and', 'and userName eq "x"', '(userName eq "x"',
        'userName eq "x")', "not userName pr", "not(title pr", "emails[]", "emails[type pr", "emails type pr]",
        'emails[type eq "work"].', "emails[type pr].value", 'userName eq "x" userName eq "y"', "userName eq 'x'",
        'userName eq "x', 'userName eq "\\x"', 'userName eq "\\ud800"', 'userName eq "\ud800"',
        'userName eq "\\u0000"', 'userName eq "a\nb"', "x eq 01", "x eq 1-2", "x eq 9223372036854775808",
        "x eq 1e400", "x eq {}", "x eq [1]", "1x eq 1", "a..b eq 1", "a.b.c eq 1", "a.1 eq 1", "urn:a: eq 1",
        'meta.created gt 2015-10-10T14:38:21.86-07:00', "name.familyName eq Employee", "userName;drop pr",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse_filter(text)


def test_the_message_says_where() -> None:
    with pytest.raises(InvalidFilter, match="'bjensen' at position 13, expected a value"):
        parse_filter("userName eq bjensen")


def test_limit_of_bytes() -> None:
    longest = 'x eq "' + "a" * (MAX_FILTER_BYTES - 7) + '"'
    assert parse_filter(longest)
    with pytest.raises(InvalidFilter, match="longer"):
        parse_filter(longest + " ")


def test_limit_of_terms() -> None:
    assert parse_filter(" or ".join(["a pr"] * 32))
    with pytest.raises(InvalidFilter, match="32 terms"):
        parse_filter(" or ".join(["a pr"] * 33))


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("not (", ")"), ("a[", "]")])
def test_limit_of_depth(opening: str, closing: str) -> None:
    assert parse_filter(opening * 8 + "a pr" + closing * 8)
    with pytest.raises(InvalidFilter, match="8 levels"):
        parse_filter(opening * 9 + "a pr" + closing * 9)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("User", 'userName eq "B@x"', Equality("userName", "B@x")),
        ("User", '(USERNAME Eq "B@x")', Equality("userName", "B@x")),
        ("User", f'{USER_URN}:userName eq "b"', Equality("userName", "b")),
        ("User", 'externalId eq "7"', Equality("externalId", "7")),
        ("User", 'id eq "7"', Equality("id", "7")),
        ("Group", 'DisplayName eq "Admins"', Equality("displayName", "Admins")),
    ],
)
def test_look_ups_that_need_no_compiling(name: str, text: str, found: Equality) -> None:
    assert equality(parse_filter(text), name, REGISTRY) == found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("User", 'userName sw "b"'),
        ("User", 'userName eq "b" and active eq true'),
        ("User", 'emails[type eq "work"].value eq "b"'),
        ("User", 'emails.value eq "b"'),
        ("User", 'department eq "b"'),
        ("User", "userName pr"),
        ("User", "userName eq 5"),
        ("User", "userName eq null"),
        ("User", 'not (userName eq "b")'),
        ("User", 'shoeSize eq "5"'),
        ("Group", 'userName eq "b"'),
    ],
)
def test_everything_else_is_compiled(name: str, text: str) -> None:
    assert equality(parse_filter(text), name, REGISTRY) is None
