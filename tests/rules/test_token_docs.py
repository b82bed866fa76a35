"""docs/tokens.md and the scanner's rules say what the code does."""

import re
import tomllib
import zlib
from pathlib import Path

import pytest

from control_plane.scim.bearer import API_KEY_ENVS, SCIM_ENVS, checksum, compose, key_id_of
from control_plane.services.token_reports import REASONS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "tokens.md").read_text()
RULES = tomllib.loads((DOCS / "scanners" / "gitleaks.toml").read_text())["rules"]
ENVS = SCIM_ENVS + API_KEY_ENVS
REAL = compose("live", bytes(range(7, 55))).text


def found(text: str) -> list[str]:
    """Return what the rules find, as gitleaks does: a keyword first, then the group of the expression."""
    return [
        match[rule["secretGroup"]]
        for rule in RULES
        if any(keyword in text.lower() for keyword in rule["keywords"])
        for match in re.finditer(rule["regex"], text)
    ]


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("place", ["{}", "token = '{}'", "Authorization: Bearer {}\n", '{{"token": "{}", "n": 1}}'])
def test_the_rules_find_a_token_wherever_it_stands(env: str, place: str) -> None:
    token = compose(env, bytes(range(7, 55))).text
    assert found(place.format(token)) == [token]


@pytest.mark.parametrize(
    "lookalike",
    [
        REAL[:-1],
        REAL + "x",
        REAL.replace("live", "prod"),
        REAL.replace("muster", "buster"),
        "x" + REAL,
        REAL[:30] + "-" + REAL[31:],
        "muster_live_<key id>_<secret>",
    ],
)
def test_the_rules_leave_lookalikes(lookalike: str) -> None:
    assert found(lookalike) == []


def test_the_documented_pattern_is_the_codes() -> None:
    (pattern,) = re.findall(r"^The pattern: `([^`]+)`", PAGE, re.MULTILINE)
    for env in ENVS:
        assert re.fullmatch(pattern, compose(env, bytes(range(48))).text)
    assert not re.fullmatch(pattern, REAL.replace("live", "prod"))


def test_the_worked_example_is_true() -> None:
    (token,) = re.findall(r"^(muster_test_\w+)$", PAGE, re.MULTILINE)
    body, crc = re.findall(r"CRC-32 of `(\w+)` is (\d+)\.", PAGE)[0]
    assert key_id_of(token) is not None
    assert (token[:-6], zlib.crc32(body.encode())) == (body, int(crc))
    assert token.endswith(checksum(body))
    remainders, number = [], int(crc)
    for _ in range(6):
        number, digit = divmod(number, 62)
        remainders.append(str(digit))
    assert f"remainders are {', '.join(remainders[:5])} and {remainders[5]}" in " ".join(PAGE.split())
    assert f"`{checksum(body)}`" in PAGE


def test_the_documented_check_works() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    said: dict[str, object] = {}
    exec(code, said)
    is_real = said["is_real"]
    assert callable(is_real)
    assert is_real(REAL)
    assert not is_real(REAL[:-1] + ("0" if REAL[-1] != "0" else "1"))


def test_every_cause_is_documented() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+)\|", PAGE, re.MULTILINE))))
    assert told >= {*REASONS, "malformed", "unknown"}
