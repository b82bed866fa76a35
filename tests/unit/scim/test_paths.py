"""PATCH paths: RFC 7644 section 3.5.2, figure 7."""

import pytest
from hypothesis import given, settings

from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.errors import InvalidFilter, InvalidPath
from control_plane.scim.filters import Filter, parse_filter
from control_plane.scim.lexer import MAX_FILTER_BYTES
from control_plane.scim.paths import PatchPath, parse_path
from tests.unit.scim.samples import ENTERPRISE
from tests.unit.scim.strategies import FILTERS


@pytest.mark.parametrize(
    ("text", "attribute", "selection"),
    [
        # The RFC's examples.
        ("members", AttributePath(None, "members"), None),
        ("name.familyName", AttributePath(None, "name", "familyName"), None),
        ('addresses[type eq "work"]', AttributePath(None, "addresses"), 'type eq "work"'),
        (
            'members[value eq "2819c223-7f76-453a-919d-413861904646"]',
            AttributePath(None, "members"),
            'value eq "2819c223-7f76-453a-919d-413861904646"',
        ),
        (
            'members[value eq "2819c223-7f76-453a-919d-413861904646"].displayName',
            AttributePath(None, "members", "displayName"),
            'value eq "2819c223-7f76-453a-919d-413861904646"',
        ),
        # And what else is sent.
        (f"{ENTERPRISE}:manager.value", AttributePath(ENTERPRISE, "manager", "value"), None),
        (f'{ENTERPRISE}:x[a eq "]"].b', AttributePath(ENTERPRISE, "x", "b"), 'a eq "]"'),
        ('  emails[type eq "work"].value ', AttributePath(None, "emails", "value"), 'type eq "work"'),
        ('emails [ type eq "work" ]', AttributePath(None, "emails"), 'type eq "work"'),
        ('x[not (a pr) and b eq "[\\"]"]', AttributePath(None, "x"), 'not (a pr) and b eq "[\\"]"'),
    ],
)
def test_parse(text: str, attribute: AttributePath, selection: str | None) -> None:
    assert parse_path(text) == PatchPath(attribute, parse_filter(selection) if selection else None)


@pytest.mark.parametrize(
    "text",
    [
        "", "1x", "a.b.c", "a b", "[type pr]", "emails[type pr", "emails[type pr]x", "emails[type pr].", "emails]",
        "emails[type pr].a.b", "emails.value[type pr]", 'emails"x"[type pr]', "é", "/emails",
        "a" * (MAX_FILTER_BYTES + 1),
    ],
)  # fmt: skip
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidPath):
        parse_path(text)


@pytest.mark.parametrize("text", ["emails[]", "emails[type]", "emails[type eq work]", "emails[[type pr]]"])
def test_what_is_wrong_in_brackets_is_an_invalid_filter(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse_path(text)


@settings(max_examples=50, deadline=None)
@given(FILTERS)
def test_what_is_written_reads_the_same(selection: Filter) -> None:
    path = PatchPath(AttributePath(None, "emails", "value"), selection)
    try:
        assert parse_path(str(path)) == path
    except (InvalidFilter, InvalidPath) as err:
        assert "more than" in err.detail or "longer" in err.detail  # noqa: PT017 - a tree over a limit
