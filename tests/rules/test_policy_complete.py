"""Every RPC stands in the policy table, and nothing else does."""

from control_plane.api.policy import POLICY
from protos.audit.v1 import audit_pb2
from protos.directory.v1 import directory_pb2
from protos.lease.v1 import lease_pb2
from protos.tenancy.v1 import tenancy_pb2

FILES = (tenancy_pb2, directory_pb2, audit_pb2, lease_pb2)


def all_rpcs() -> set[str]:
    return {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_every_rpc_has_a_row() -> None:
    assert all_rpcs() - POLICY.keys() == set()


def test_no_row_is_for_an_rpc_that_is_gone() -> None:
    assert POLICY.keys() - all_rpcs() == set()


def test_only_streams_go_without_a_deadline() -> None:
    streaming = {
        f"/{service.full_name}/{method.name}"
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.server_streaming
    }
    assert {name for name, rule in POLICY.items() if rule.deadline_s is None} <= streaming
