"""The JSON door: what it lets in is exactly what a strict parser reads; everything else is invalidSyntax."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.scim.errors import InvalidSyntax
from control_plane.scim.json_door import MAX_DEPTH, MAX_KEYS, parse_object


def _nested(depth: int) -> str:
    return '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param('{"a":tre}', id="a typing error"),
        pytest.param('{"a":1,}', id="trailing comma"),
        pytest.param('{"a":1} {}', id="two documents"),
        pytest.param("[]", id="an array"),
        pytest.param('"text"', id="a string"),
        pytest.param("null", id="null"),
        pytest.param('{"a":NaN}', id="NaN"),
        pytest.param('{"a":Infinity}', id="Infinity"),
        pytest.param('{"a":1e400}', id="a float that is infinite"),
        pytest.param('{"a":9223372036854775808}', id="2 to the 63"),
        pytest.param('{"a":[-123456789012345678901234567890]}', id="a huge negative integer"),
        pytest.param('{"a":1e30}', id="a huge float"),
        pytest.param('{"a":' + "9" * 5000 + ',"a":1}', id="more digits than int() takes, in what is dropped"),
        pytest.param('{"a":"\\ud800"}', id="a lone surrogate, escaped"),
        pytest.param('{"a":"\ud800"}', id="a lone surrogate, raw"),
        pytest.param(b'{"a":"\xff"}', id="no UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="a byte order mark"),
        pytest.param('{"a":"\x01"}', id="a raw control character"),
        pytest.param('{"a":"\\u0000"}', id="NUL in a value"),
        pytest.param('{"a\\u0000":1}', id="NUL in a key"),
        pytest.param('{"a":[["x\\u0000"]]}', id="NUL deep down"),
        pytest.param(_nested(MAX_DEPTH + 1), id="one level too deep"),
        pytest.param('{"a":' + "[" * 100_000, id="a tower of brackets"),
        pytest.param('{"a":' * 900 + "1" + "}" * 900, id="a tower of objects"),
    ],
)
def test_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidSyntax):
        parse_object(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a":1,"a":1}', id="equal values"),
        pytest.param('{"a":1,"b":{"c":1,"c":2}}', id="below the top"),
        pytest.param('{"a":[{"c":1,"c":2}]}', id="in a list"),
        pytest.param('{"a":1,"\\u0061":2}', id="one of them escaped"),
        pytest.param('{"a":1,"a" :2}', id="a blank before the colon"),
        pytest.param('{"a":"\\":","a" :2}', id="a string that looks like a key"),
        pytest.param('{"a":"x\\u003ay","a":2}', id="an escaped colon, dropped"),
        pytest.param('{"b":"x\\u003ay","a":1,"a":2}', id="an escaped colon, kept"),
        pytest.param('{"b":"x\\u003Ay","a":1,"a":2}', id="an escaped colon, capital"),
        pytest.param('{"a":{"b":{"c":"::"}},"a":"::::"}', id="as many colons in what stays"),
        pytest.param('{"b":"\\u003a","a":' + "9" * 300 + ',"a":1}', id="a huge number in what is dropped"),
        pytest.param('{"a":' + "[" * 1000 + "]" * 1000 + ',"a":1}', id="a tower in what is dropped"),
    ],
)
def test_a_key_twice_in_one_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidSyntax, match="twice"):
        parse_object(text)


def test_the_last_of_many_keys_is_found_to_be_a_double() -> None:
    keys = ",".join(f'"k{number}":1' for number in range(MAX_KEYS - 1))
    with pytest.raises(InvalidSyntax, match=f"'k{MAX_KEYS - 2}' stands twice"):
        parse_object("{" + keys + f',"k{MAX_KEYS - 2}":2}}')


def test_the_limits_themselves_are_allowed() -> None:
    assert parse_object(_nested(MAX_DEPTH))
    assert len(parse_object(json.dumps({str(number): number for number in range(MAX_KEYS)}))) == MAX_KEYS
    assert parse_object('{"a":9223372036854775807}') == {"a": 2**63 - 1}


def test_too_many_keys_are_counted_over_all_objects() -> None:
    half = {str(number): 0 for number in range(MAX_KEYS // 2)}
    with pytest.raises(InvalidSyntax, match="keys"):
        parse_object(json.dumps({"a": half, "b": half}))


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert parse_object(r'{"a":"\\u0000"}') == {"a": "\\u0000"}


def test_colons_in_strings_are_no_keys() -> None:
    text = r'{"urn:a:b":["urn:c","http://x:1","\":",":\""],"t":"12:30"}'
    assert parse_object(text) == json.loads(text)


_TEXTS = st.text(alphabet=st.sampled_from('ab:"\\\n é😀'), max_size=4)
_SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | _TEXTS
# Objects as lists of pairs, so that a key can stand twice.
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_TEXTS, inner), max_size=4).map(tuple),
    max_leaves=12,
)


def _write(tree: Any, style: int) -> str:
    if isinstance(tree, tuple):
        gap = " " * (style % 3)
        return "{" + ",".join(f"{_quote(name, style)}{gap}:{gap}{_write(item, style)}" for name, item in tree) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(_write(item, style) for item in tree) + "]"
    return _quote(tree, style) if isinstance(tree, str) else json.dumps(tree)


def _quote(text: str, style: int) -> str:
    quoted = json.dumps(text, ensure_ascii=style % 2 == 0)
    return quoted.replace(":", ("\\u003a", "\\u003A")[style % 2]) if style > 3 else quoted


def _has_twin(tree: Any) -> bool:
    if isinstance(tree, tuple):
        return len({name for name, _ in tree}) < len(tree) or any(_has_twin(item) for _, item in tree)
    return isinstance(tree, list) and any(_has_twin(item) for item in tree)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_TEXTS, _TREES), max_size=5).map(tuple), st.integers(0, 5))
def test_duplicates_are_found_exactly(tree: tuple[Any, ...], style: int) -> None:
    text = _write(tree, style)
    if _has_twin(tree):
        with pytest.raises(InvalidSyntax):
            parse_object(text)
    else:
        assert parse_object(text) == json.loads(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_noise_is_refused_or_read_never_a_crash(text: bytes | str) -> None:
    with suppress(InvalidSyntax):
        assert isinstance(parse_object(text), dict)
