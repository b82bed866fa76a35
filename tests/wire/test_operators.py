"""Operators: unique in any case, changed with the next call, and never without an owner who can act."""

import asyncio

import grpc

from protos.audit.v1 import audit_pb2
from protos.identity.v1 import identity_pb2 as pb
from tests.fixtures.control_plane import Plane, running_plane, settings
from tests.fixtures.postgres import Database
from tests.wire.conftest import refused
from tests.wire.identities import AUDITOR, OPERATOR, OWNER, caller, change, change_as, client, operator, person

NOBODY = "01890000-0000-7000-8000-000000000000"


async def test_an_operator_is_made_read_listed_changed_and_deleted(plane: Plane) -> None:
    admin, meta = plane.admin.operators, plane.admin.metadata()
    made = await operator(plane, AUDITOR, email="Ada@Example.com", display_name="Ada")
    assert (made.email, made.role, made.disabled) == ("Ada@Example.com", AUDITOR, False)
    changed = await change(plane, made.id, role=OPERATOR, display_name="Countess", email="ada@example.org")
    assert (changed.role, changed.display_name, changed.email) == (OPERATOR, "Countess", "ada@example.org")
    assert (await admin.GetOperator(pb.GetOperatorRequest(id=made.id), metadata=meta)).operator == changed
    second = await operator(plane, OWNER)
    page = await admin.ListOperators(pb.ListOperatorsRequest(page_size=1), metadata=meta)
    rest = await admin.ListOperators(
        pb.ListOperatorsRequest(page_size=2, page_token=page.next_page_token), metadata=meta
    )
    assert [one.id for one in (*page.operators, *rest.operators)] == [made.id, second.id]
    await admin.DeleteOperator(pb.DeleteOperatorRequest(id=made.id), metadata=meta)
    refusal = await refused(admin.GetOperator(pb.GetOperatorRequest(id=made.id), metadata=meta))
    assert refusal.code is grpc.StatusCode.NOT_FOUND


async def test_every_change_is_in_the_installations_trail_and_who_it_was_only_if_asked_for(plane: Plane) -> None:
    made = await operator(plane, AUDITOR, email="ada@example.com", display_name="Ada")
    await change(plane, made.id, disabled=True, email="countess@example.com")
    await plane.admin.operators.DeleteOperator(pb.DeleteOperatorRequest(id=made.id), metadata=plane.admin.metadata())
    request = audit_pb2.ListAuditEventsRequest(tenant_id="00000000-0000-0000-0000-000000000000", resource_id=made.id)
    listed = await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())
    assert [one.action for one in listed.events] == ["operator.delete", "operator.update", "operator.create"]
    assert {(one.actor_id, one.actor_address) for one in listed.events} == {("admin", "127.0.0.1")}
    assert "example.com" not in str(listed)
    request.include_personal = True
    shown = await plane.admin.audit.ListAuditEvents(request, metadata=plane.admin.metadata())
    assert ["countess@example.com" in one.personal for one in shown.events] == [True, True, False]


async def test_two_operators_never_share_an_address_in_any_case_nor_an_oidc_subject(plane: Plane) -> None:
    subject = pb.OidcSubject(issuer="https://idp.example", subject="42")
    first = await operator(plane, OWNER, email="ada@example.com", oidc=subject)
    other = await operator(plane, OWNER)
    again = pb.CreateOperatorRequest(email="ADA@example.COM", role=OWNER)
    stolen = pb.CreateOperatorRequest(email="eve@example.com", role=OWNER, oidc=subject)
    for request in (again, stolen):
        refusal = await refused(plane.admin.operators.CreateOperator(request, metadata=plane.admin.metadata()))
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    for fields in ({"email": "Ada@Example.com"}, {"oidc": subject}):
        assert (await refused(change(plane, other.id, **fields))).code is grpc.StatusCode.ALREADY_EXISTS
    # The same subject of another issuer is somebody else; and one's own values may be written again.
    await change(plane, other.id, oidc=pb.OidcSubject(issuer="https://else.example", subject="42"))
    assert (await change(plane, first.id, email="Ada@example.com")).email == "Ada@example.com"


async def test_two_at_once_for_one_address_make_one_operator(plane: Plane) -> None:
    calls = [operator(plane, OWNER, email="ada@example.com") for _ in range(4)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, pb.Operator) for one in done) == 1
    codes = {one.code() for one in done if isinstance(one, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.ALREADY_EXISTS}


async def test_a_change_of_nothing_or_of_nonsense_or_of_nobody_is_refused(plane: Plane) -> None:
    made = await operator(plane, AUDITOR)
    for fields in ({}, {"id": "x"}, {"email": "no address"}, {"role": 0}):
        request = pb.UpdateOperatorRequest(operator=pb.Operator(**{"id": made.id, **fields}))  # type: ignore[arg-type]  # test data
        request.update_mask.paths.extend(fields)
        refusal = await refused(plane.admin.operators.UpdateOperator(request, metadata=plane.admin.metadata()))
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    delete = plane.admin.operators.DeleteOperator(pb.DeleteOperatorRequest(id=NOBODY), metadata=plane.admin.metadata())
    for call in (change(plane, NOBODY, disabled=True), delete):
        assert (await refused(call)).code is grpc.StatusCode.NOT_FOUND


async def test_the_last_owner_stays_unless_there_is_an_admin_token(
    plane: Plane, database: Database, queue_url: str
) -> None:
    one, _ = await person(plane, OWNER)
    two, them = await person(plane, OWNER)
    token = dict(them.metadata())["authorization"].removeprefix("Bearer ")
    async with running_plane(settings(database, queue_url, admin_token="")) as alone:
        # The admin token is off here: its holder is nobody.
        off = client(alone, dict(plane.admin.metadata())["authorization"].removeprefix("Bearer "))
        assert (await refused(caller(off))).code is grpc.StatusCode.UNAUTHENTICATED
        owner = client(alone, token)
        await change_as(owner, one.id, disabled=True)
        delete = owner.operators.DeleteOperator(pb.DeleteOperatorRequest(id=two.id), metadata=owner.metadata())
        for call in (change_as(owner, two.id, role=AUDITOR), change_as(owner, two.id, disabled=True), delete):
            assert (await refused(call)).code is grpc.StatusCode.FAILED_PRECONDITION
    assert (await change(plane, two.id, disabled=True)).disabled


async def test_a_change_of_role_and_a_disabled_account_count_from_the_next_call(plane: Plane) -> None:
    made, them = await person(plane, OWNER)
    answer = await caller(them)
    assert (answer.role, answer.actor_id, answer.operator.id) == ("owner", made.id, made.id)
    await change(plane, made.id, role=AUDITOR)
    answer = await caller(them)
    assert (answer.role, "muster.identity.v1.OperatorService/CreateOperator" in answer.methods) == ("auditor", False)
    await change(plane, made.id, disabled=True)
    assert (await refused(caller(them))).code is grpc.StatusCode.UNAUTHENTICATED
    await change(plane, made.id, disabled=False)
    assert (await caller(them)).role == "auditor"
    await plane.admin.operators.DeleteOperator(pb.DeleteOperatorRequest(id=made.id), metadata=plane.admin.metadata())
    assert (await refused(caller(them))).code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_admin_token_is_an_owner_without_an_account(plane: Plane) -> None:
    answer = await caller(plane.admin)
    assert (answer.role, answer.actor_id, answer.HasField("operator")) == ("owner", "admin", False)
