"""The committed protobuf modules are what the sources say."""

from protos.generate import stale


def test_generated_modules_are_fresh() -> None:
    assert stale() == []
