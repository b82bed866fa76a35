"""Secrets go in and do not come out: what the messages of every RPC can carry, by their descriptors."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

ROOT = Path(__file__).resolve().parents[2]
SECRET = re.compile(r"secret|token|password|presented|credential|private")
# These name a token, or where a list goes on; they open nothing.
HARMLESS = re.compile(r"(^|_)(page_token|token_id)$")
TEXT = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
BEARER = "muster.tenancy.v1.ScimTargetConfig.bearer_token"
# Shown once, to who has just made it.
ONCE = {
    ("TokenService.CreateToken", "muster.tenancy.v1.CreateTokenResponse.secret"),
    ("TokenService.RotateToken", "muster.tenancy.v1.RotateTokenResponse.secret"),
    ("ApiKeyService.CreateApiKey", "muster.identity.v1.CreateApiKeyResponse.secret"),
}
# A worker needs the secret of the target that it holds a lease on.
TO_WORKERS = {("LeaseService.StreamLeases", BEARER)}
# A target is shown as it was asked for, with this field empty: tests/wire/test_keys.py reads each of these answers.
LEFT_EMPTY = {
    (f"TargetService.{name}", BEARER)
    for name in ("CreateTarget", "GetTarget", "ListTargets", "UpdateTarget", "ActivateTarget", "PauseTarget")
}


def all_rpcs() -> list[MethodDescriptor]:
    modules = sorted(ROOT.glob("protos/*/v1/*_pb2.py"))
    files = [importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in modules]
    return [
        method for file in files for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
    ]


def secrets_in(message: Descriptor, seen: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """Yield the secret fields of a message and of all messages inside it."""
    seen = set() if seen is None else seen
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        if field.message_type is not None:
            yield from secrets_in(field.message_type, seen)
        elif field.type in TEXT and SECRET.search(field.name) and not HARMLESS.search(field.name):
            yield field


@pytest.mark.parametrize("rpc", all_rpcs(), ids=lambda rpc: rpc.full_name)
def test_secret_fields_are_redacted_wherever_they_travel(rpc: MethodDescriptor) -> None:
    open_ones = [
        field.full_name
        for message in (rpc.input_type, rpc.output_type)
        for field in secrets_in(message)
        if not field.GetOptions().debug_redact
    ]
    assert open_ones == []


def test_no_answer_carries_a_secret_but_those_that_are_named_here() -> None:
    carried = {
        (f"{rpc.containing_service.name}.{rpc.name}", field.full_name)
        for rpc in all_rpcs()
        for field in secrets_in(rpc.output_type)
    }
    assert carried == ONCE | TO_WORKERS | LEFT_EMPTY


def test_the_walk_finds_what_it_is_for() -> None:
    found = {field.name for rpc in all_rpcs() for field in secrets_in(rpc.input_type)}
    assert found == {"bearer_token", "presented"}
