"""Every RPC stands in the policy table and in the table for people, and nothing else does."""

from control_plane.api.policy import POLICY, SCOPES, tenant_path
from control_plane.domain.identities import Role
from tests.rules.role_table import PAGE, page_with, table
from tests.rules.wire_files import rpcs


def test_every_rpc_has_a_row() -> None:
    assert rpcs().keys() - POLICY.keys() == set()


def test_no_row_is_for_an_rpc_that_is_gone() -> None:
    assert POLICY.keys() - rpcs().keys() == set()


def test_only_streams_go_without_a_deadline() -> None:
    streaming = {name for name, method in rpcs().items() if method.server_streaming}
    assert {name for name, rule in POLICY.items() if rule.deadline_s is None} <= streaming


def test_what_a_service_may_call_needs_a_scope() -> None:
    without = {name for name, rule in POLICY.items() if Role.SERVICE in rule.roles and not rule.scope}
    assert without == {"/muster.identity.v1.OperatorService/GetCaller"}


def test_a_process_of_ours_has_no_part_in_administration() -> None:
    people = {Role.OWNER, Role.OPERATOR, Role.AUDITOR}
    assert not [name for name, rule in POLICY.items() if Role.WORKER in rule.roles and rule.roles & people]


def test_an_auditor_changes_nothing_but_keys_of_their_own() -> None:
    changing = {
        name.rpartition("/")[2]
        for name, rule in POLICY.items()
        if Role.AUDITOR in rule.roles and rule.audit_action and rule.audit_action != "audit.export"
    }
    assert changing == {"CreateApiKey", "RevokeApiKey"}


def test_a_services_scope_for_reading_never_allows_a_change() -> None:
    assert {scope.partition(":")[2] for scope in SCOPES} == {"read", "write"}
    for name, rule in POLICY.items():
        if rule.scope.endswith(":read"):
            assert rule.audit_action in ("", "audit.export"), name


def test_requests_about_a_tenant_say_where_its_id_stands() -> None:
    """A service for some tenants is denied what names none: these few, which are not about one."""
    scoped = {name for name, rule in POLICY.items() if rule.scope}
    none = {name.rpartition("/")[2] for name in scoped if not tenant_path(rpcs()[name].input_type)}
    assert none == {"CreateTenant", "ListTenants", "GetCheckpointKey"}


def test_the_page_for_people_has_the_table_as_it_is() -> None:
    page = PAGE.read_text()
    assert page == page_with(table(), page), "run `python -m tests.rules.role_table --write`"
