"""What no well-meaning client sends: hypothesis strategies for bodies, filters, paths, PATCH documents and targets.

JSON is written by a writer of our own, since no library writes duplicate keys, bare NaN, lone surrogates or numbers
of a thousand digits.
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from tests.conformance.client import ENTERPRISE, GROUP, PATCH_OP, USER

NAMES = (
    *("schemas", "id", "externalId", "meta", "userName", "USERNAME", "name", "displayName", "active", "emails"),
    *("members", "groups", "password", "addresses", "phoneNumbers", "x509Certificates", "roles", "photos", "title"),
    *(ENTERPRISE, f"{ENTERPRISE}:manager", "manager", "name.familyName", "emails.value", "Operations", "op", "path"),
    *("value", "$ref", "type", "primary", "display", "", " ", "__proto__", "toString", "\x00", "userName\x00"),
)
# Grammar's tokens, with some that look like them.
TOKENS = (
    *("userName", "emails", "emails.value", "meta.created", "meta", "active", "members", "groups", "name", "id"),
    *(f"{ENTERPRISE}:manager", f"{USER}:userName", "urn:x:y", "a.b.c.d", "$ref", "1", "-"),
    *("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr", "and", "or", "not", "EQ", "==", "like"),
    *("(", ")", "[", "]", '"', '"x"', '"\\u0000"', '"\\ud800"', '"%"', '"_"', '"\\\\"', '"\' or 1=1 --"', '"'),
    *("true", "null", "1", "-1", "1.5e3", "1e999999", "9" * 400, "0x1", "NaN", '"2026-01-01T00:00:00Z"'),
    *('"2026-99-99T99:99:99Z"', '"0000-00-00T00:00:00Z"', ";", ",", "\\", "\x00", "\u2028", "\ufeff", "ß"),
)
PARAMETERS = (
    *("filter", "startIndex", "count", "sortBy", "sortOrder", "attributes", "excludedAttributes", "cursor", "x"),
    *("Filter", "filter[]", "", "count ", "access_token"),
)

text = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.characters(), max_size=20),
    # Lone surrogates among others.
    st.text(st.characters(categories=["Cs", "Cc", "Cn", "L"]), max_size=8),
    st.builds("{}{}".format, st.sampled_from(TOKENS), st.sampled_from(TOKENS)),
    st.sampled_from(["x" * 3000, "\x00", "\ud800", "ﷺ" * 300, "İ" * 50, "a" + "\u0301" * 500, "../../etc/passwd"]),
)


@dataclass(frozen=True)
class Raw:
    """A piece of JSON, or of what is none, as it is to be written."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may repeat."""

    pairs: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Nested:
    """A value inside so many lists or objects."""

    depth: int
    value: Any
    in_lists: bool


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    text,
    st.sampled_from(
        [
            *(Raw("NaN"), Raw("-Infinity"), Raw("1e999999"), Raw("-0.0"), Raw("01"), Raw("+1"), Raw(".5"), Raw("1.")),
            *(Raw("9" * 5000), Raw("-" + "1" * 400), Raw("0." + "0" * 4000 + "1"), Raw("1e" + "9" * 30)),
            *(Raw("undefined"), Raw("'x'"), Raw('"\\u00"'), Raw('"\\x"'), Raw('"\n"'), Raw('"\\ud800"'), Raw("")),
        ]
    ),
)


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(values, max_size=4),
        st.builds(Pairs, st.lists(st.tuples(text, values), max_size=5).map(tuple)),
        st.builds(Nested, st.sampled_from([1, 31, 32, 33, 200]), values, st.booleans()),
    )


values = st.recursive(scalars, _objects, max_leaves=8)


def write(value: Any, *, escape: bool = True) -> bytes:
    """Return ``value`` as JSON, with everything in it that JSON does not allow."""
    return _write(value, escape).encode("utf-8", "surrogatepass")


def _write(value: Any, escape: bool) -> str:
    match value:
        case Raw():
            return value.text
        case Pairs():
            return "{" + ",".join(f"{_string(key, escape)}:{_write(one, escape)}" for key, one in value.pairs) + "}"
        case Nested():
            before, after = ("[", "]") if value.in_lists else ('{"name":', "}")
            return before * value.depth + _write(value.value, escape) + after * value.depth
        case list():
            return "[" + ",".join(_write(one, escape) for one in value) + "]"
        case str():
            return _string(value, escape)
        case _:
            return json.dumps(value)


def _string(value: str, escape: bool) -> str:
    return json.dumps(value, ensure_ascii=escape)


def _with(fixed: tuple[tuple[str, Any], ...], also: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of what makes a request pass the first checks, and of hostile pairs before or after it."""
    pairs = st.lists(st.tuples(text, also), max_size=4).map(tuple)
    return st.builds(lambda before, after: Pairs(before + fixed + after), pairs, pairs)


users = st.one_of(
    _with((("schemas", [USER]), ("userName", "hostile")), values),
    _with((), values),
    values,
)
groups = _with((("schemas", [GROUP]), ("displayName", "hostile")), values)
paths = st.one_of(
    text,
    st.lists(st.sampled_from(TOKENS), max_size=8).map(" ".join),
    st.lists(st.sampled_from(TOKENS), max_size=8).map("".join),
    st.builds(
        "{}[{}].{}".format,
        st.sampled_from(["emails", "members", "name", ENTERPRISE, "x"]),
        st.lists(st.sampled_from(TOKENS), max_size=5).map(" ".join),
        st.sampled_from(["value", "type", "x", ""]),
    ),
)
operations = st.one_of(
    values,
    st.builds(
        lambda op, path, value: Pairs((("op", op), ("path", path), ("value", value))),
        st.one_of(st.sampled_from(["add", "replace", "remove", "Add"]), text),
        st.one_of(paths, values),
        values,
    ),
    st.builds(lambda op, value: Pairs((("op", op), ("value", value))), st.sampled_from(["add", "replace"]), users),
)
patches = st.one_of(
    st.builds(
        lambda one: Pairs((("schemas", [PATCH_OP]), ("Operations", one))),
        st.one_of(st.lists(operations, max_size=3), values),
    ),
    _with((("Operations", [Pairs((("op", "add"), ("path", "title"), ("value", "x")))]),), values),
)
filters = st.one_of(
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=14).map(" ".join),
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=14).map("".join),
    text,
    # Valid, and as long or deep as it gets.
    st.builds(lambda n: " or ".join(f'userName eq "{number}"' for number in range(n)), st.integers(1, 150)),
    st.builds(lambda n: "(" * n + "title pr" + ")" * n, st.integers(1, 900)),
    st.builds(lambda n: "not (" * n + "title pr" + ")" * n, st.integers(1, 400)),
    st.builds(lambda n, c: f'displayName co "{c * n}"', st.integers(1, 3000), st.sampled_from(["%", "_", "\\\\", "ß"])),
)
# As it stands on the wire: every byte but those that no HTTP client library sends.
wire = st.one_of(
    text.map(lambda one: quote(one.encode("utf-8", "surrogatepass"), safe="=&?/:[]()+'\"*!$,;@%~^`{}|\\<>")),
    st.binary(max_size=12).map(quote),
    st.sampled_from(["%", "%zz", "%00", "%ff%fe", "%u0041", "+", "&", "=", "&&==", "%2e%2e%2f", "a" * 7000]),
)


def queries() -> st.SearchStrategy[str]:
    """Return query strings."""
    pair = st.builds(lambda name, value: f"{quote(name)}={value}", st.sampled_from(PARAMETERS), wire)
    return st.lists(st.one_of(pair, wire), max_size=4).map("&".join)


bulks = st.one_of(
    values,
    st.builds(
        lambda operations, limit: Pairs((("Operations", operations), ("failOnErrors", limit))),
        st.lists(
            st.builds(
                lambda method, path, bulk_id, data: Pairs(
                    (("method", method), ("path", path), ("bulkId", bulk_id), ("data", data))
                ),
                st.one_of(st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET"]), values),
                st.one_of(st.sampled_from(["/Users", "/Groups", "/Users/bulkId:a", "/Me", "Users", "/Users/x"]), text),
                st.one_of(st.sampled_from(["a", "b", "bulkId:a"]), values),
                st.one_of(users, groups, patches),
            ),
            max_size=3,
        ),
        values,
    ),
)
