"""Row 22: guessing the credentials of operators and services tells nothing, costs little, and locks nobody out."""

import os
import re
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import grpc
import pytest

from control_plane.scim.bearer import checksum, compose
from tests.conformance.client import Idp
from tests.conformance.service import ADMIN, Service
from tests.hardening.calls import Said, call
from tests.hardening.sockets import until

Record = Callable[[str, object], None]
LIST = "/muster.tenancy.v1.TenantService/ListTenants"
IDENTITY = "/muster.identity.v1."
REFUSED, BUSY = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED
GUESSES, AT_ONCE, ROUNDS = 400, 8, 25


@pytest.fixture
def channel(site: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(site.control_plane) as one:
        yield one


def asked(channel: grpc.Channel, name: str, request: dict[str, Any]) -> Any:
    """Call as the administrator and return the answer."""
    said = call(channel, name, ADMIN, request)
    assert said.code is grpc.StatusCode.OK, said
    return said.response


def new_key(channel: grpc.Channel, **fields: Any) -> Any:
    """Make an operator and a key."""
    person = {"email": f"{uuid4().hex}@example.com", "role": "OPERATOR_ROLE_OPERATOR"}
    operator = asked(channel, IDENTITY + "OperatorService/CreateOperator", person).operator
    return asked(channel, IDENTITY + "ApiKeyService/CreateApiKey", {"operatorId": operator.id, **fields})


def unknown() -> str:
    """Return a key of the right form that nobody has."""
    return compose("op", os.urandom(48)).text


def wrong(key: str) -> str:
    """Return another key with the same key id; its checksum is right, or nobody would even look at it."""
    body = f"{key.rpartition('_')[0]}_{unknown().rpartition('_')[2][:43]}"
    return body + checksum(body)


def try_one(channel: grpc.Channel, token: str) -> Said:
    return call(channel, LIST, token, {"pageSize": 1})


@pytest.mark.row(22)
def test_every_refusal_is_the_same(channel: grpc.Channel, idp: Idp, record_property: Record) -> None:
    good, revoked, elsewhere = new_key(channel), new_key(channel), new_key(channel, allowedNetworks=["192.0.2.0/24"])
    disabled = new_key(channel)
    asked(channel, IDENTITY + "ApiKeyService/RevokeApiKey", {"id": revoked.api_key.id})
    change = {"operator": {"id": disabled.api_key.operator_id, "disabled": True}, "updateMask": "disabled"}
    asked(channel, IDENTITY + "OperatorService/UpdateOperator", change)
    bad: dict[str, Callable[[], str]] = {
        "nothing": lambda: "",
        "a wrong admin token": lambda: ADMIN[:-1] + "x",
        "garbage": lambda: "x" * 40,
        "an unknown key id": unknown,
        "a wrong secret": lambda: wrong(good.secret),
        "a revoked key": lambda: str(revoked.secret),
        "a disabled operator's": lambda: str(disabled.secret),
        "another network's": lambda: str(elsewhere.secret),
        "an identity provider's token": lambda: idp.token,
        "a JWT": lambda: "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    }
    answers = {name: try_one(channel, make()) for name, make in bad.items()}
    assert {said.code for said in answers.values()} == {REFUSED}
    assert len({said.neutral() for said in answers.values()}) == 1, answers
    assert try_one(channel, good.secret).code is grpc.StatusCode.OK
    # Of those that anybody can send; a wrong secret costs one PBKDF2, here of 1,000 iterations: key ids are no secret.
    classes = ("a wrong admin token", "garbage", "an unknown key id")
    medians = {
        name: statistics.median(try_one(channel, bad[name]()).seconds for _ in range(ROUNDS)) * 1000 for name in classes
    }
    record_property("figure", ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items()))


@pytest.mark.row(22)
def test_guessing_locks_nobody_out(site: Service, channel: grpc.Channel, record_property: Record) -> None:
    """Wrong secrets for one key id and made-up key ids, from the very address that the owner calls from."""
    key = new_key(channel)
    assert try_one(channel, key.secret).code is grpc.StatusCode.OK
    guesses = [wrong(key.secret) if number % 2 else unknown() for number in range(GUESSES)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        attack = [pool.submit(try_one, channel, one) for one in guesses]
        owner = [try_one(channel, key.secret) for _ in range(ROUNDS)]
        answers = [one.result() for one in attack]
    assert {said.code for said in owner} == {grpc.StatusCode.OK}
    assert {said.code for said in answers} <= {REFUSED, BUSY}
    assert len({said.neutral() for said in answers if said.code is REFUSED}) == 1
    assert try_one(channel, ADMIN).code is grpc.StatusCode.OK
    reasons = refusals_by_reason(site)
    assert reasons["throttled"] > 0
    assert sum(reasons.values()) >= GUESSES // 2
    slowest = max(said.seconds for said in owner) * 1000
    record_property(
        "figure", f"{GUESSES} guesses: owner's slowest call {slowest:.0f} ms; by reason {sorted(reasons.items())}"
    )
    # What was never seen before, from an attacked address, waits for a permit: seconds, not a lock-out.
    fresh = new_key(channel).secret
    until(lambda: try_one(channel, fresh).code is grpc.StatusCode.OK, limit_s=15)


def refusals_by_reason(site: Service) -> dict[str, float]:
    """Return what the control plane counts; a label is a word of its own, never what was sent."""
    with urlopen(site.metrics_urls["control-plane"], timeout=5) as page:
        text = page.read().decode()
    found = re.findall(r'^scim_admin_auth_failure_total\{reason="([^"]*)"\} ([0-9.e+]+)$', text, re.MULTILINE)
    assert all(re.fullmatch(r"[A-Za-z' :_-]{3,60}", reason) for reason, _ in found), found
    return {reason: float(count) for reason, count in found}
