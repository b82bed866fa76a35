"""muster audit list and erase."""

import json

from protos.audit.v1 import audit_pb2 as pb
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_admin import FakeAdmin


def test_every_condition_reaches_the_api(muster: Run, fake: FakeAdmin) -> None:
    given = {
        "--actor": "k", "--actor-type": "operator", "--action": "token.*", "--resource-type": "token",
        "--resource": "r", "--outcome": "failure", "--request-id": "q", "--trace-id": "t",
    }  # fmt: skip
    done = muster("audit", "list", "--tenant", "a", *(word for pair in given.items() for word in pair))
    assert done.exit_code == 0, done.stderr
    assert fake.calls == [
        pb.ListAuditEventsRequest(
            tenant_id="a",
            page_size=100,
            actor_id="k",
            actor_type=pb.ACTOR_TYPE_OPERATOR,
            action="token.*",
            resource_type="token",
            resource_id="r",
            outcome=pb.OUTCOME_FAILURE,
            request_id="q",
            trace_id="t",
        )
    ]


def test_personal_values_are_shown_if_asked_for(muster: Run, fake: FakeAdmin) -> None:
    fake.events += [
        pb.AuditEvent(
            id="e1", actor_type=pb.ACTOR_TYPE_TOKEN, outcome=pb.OUTCOME_SUCCESS, personal='{"userName":"ada"}'
        ),
        pb.AuditEvent(id="e2", actor_type=pb.ACTOR_TYPE_TOKEN, outcome=pb.OUTCOME_SUCCESS, is_erased=True),
    ]
    shown = muster("audit", "list", "--tenant", "a", "--personal").stdout
    assert '{"userName":"ada"}' in shown
    assert "(erased)" in shown
    assert "PERSONAL" not in muster("audit", "list", "--tenant", "a").stdout
    assert [call.include_personal for call in fake.calls] == [True, False]


def test_a_person_is_erased(muster: Run, fake: FakeAdmin) -> None:
    assert muster("audit", "erase", "--tenant", "a", "--user", "u").stdout == "Erased user u from 3 events.\n"
    assert json.loads(muster("audit", "erase", "--tenant", "a", "--user", "u", "--json").stdout) == {"events": "3"}
    assert fake.calls[0] == pb.EraseSubjectRequest(tenant_id="a", resource_id="u")
