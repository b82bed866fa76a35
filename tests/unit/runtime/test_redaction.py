"""A log line says what is on the list, and no secret even there."""

import logging
from typing import Any

import orjson
import pytest

from control_plane.runtime import logs
from control_plane.runtime.redaction import WITHHELD, masked, redacted

SECRET = "muster_live_abcdefghijkl_" + "S" * 49
SECRETS = (
    SECRET,
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "Bearer s3cr3t-of-a-target",
    "postgresql://muster_app:pa55word@db/muster",
    "ada.lovelace@example.com",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_stays_in_a_text(secret: str) -> None:
    text = masked(f"DETAIL:  Key (x)=({secret}) already exists.")
    for part in ("S" * 49, "eyJ", "s3cr3t", "pa55word", "lovelace", "example.com"):
        assert part not in text


def test_harmless_texts_stay() -> None:
    for text in (
        "postgresql://muster_app@db/muster",
        "2 of 3 at 10.0.0.1:5432",
        "muster_app",
        "user@ host",
        "/Users/{id}",
    ):
        assert masked(text) == text


def test_a_field_that_is_not_listed_is_withheld() -> None:
    fields: dict[str, Any] = {"event": "x", "tenant": "t", "body": {"userName": "ada"}, "authorization": SECRET}
    assert redacted(fields) == {"event": "x", "tenant": "t", "body": WITHHELD, "authorization": WITHHELD}


def test_values_are_looked_through() -> None:
    assert redacted({"error": {"a": [SECRET]}, "keys": (SECRET,), "count": 3}) == {
        "error": {"a": ["[secret]"]},
        "keys": ["[secret]"],
        "count": 3,
    }


def test_what_is_really_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to a line: structlog's and the standard library's, with an exception that quotes a token."""
    logs.configure("test")
    try:
        raise ValueError(f"bad token {SECRET}")
    except ValueError:
        logs.get_logger("a").exception("it failed", user_name="ada", count=1)
        logging.getLogger("b").exception("lost %s", SECRET, extra={"password": "hunter2"})
    written = capsys.readouterr().err
    assert "S" * 49 not in written
    assert "hunter2" not in written
    first, second = (orjson.loads(line) for line in written.splitlines())
    assert (first["event"], first["count"], first["user_name"]) == ("it failed", 1, WITHHELD)
    assert "ValueError: bad token [secret]" in first["exception"]
    assert (second["event"], second["password"]) == ("lost [secret]", WITHHELD)
