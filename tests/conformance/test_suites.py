"""The suites that nobody here wrote, each on an empty tenant: scim2-tester, scim-sanity; none of their checks may fail.

shared/conformance runs more of them (Okta's and Microsoft's definitions) in CI: tests/conformance/run_shared.py.
"""

import json
import subprocess

from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

from tests.conformance.client import Idp
from tests.conformance.programs import LIMIT_S, connect, program


def test_scim2_tester(idp: Idp) -> None:
    with connect(idp) as http:
        results = check_server(SyncSCIMClient(http))
    wrong = [one for one in results if one.status in (Status.ERROR, Status.CRITICAL)]
    assert [f"{one.title} {one.resource_type}: {one.reason}" for one in wrong] == []
    # Discovery that does not describe a resource would leave nothing to check.
    assert {"User", "Group"} <= {str(one.resource_type) for one in results}
    assert sum(one.status is Status.SUCCESS for one in results) > 100
    assert idp.list("Users")["totalResults"] == idp.list("Groups")["totalResults"] == 0


def test_scim_sanity_strict(idp: Idp) -> None:
    arguments = ["probe", idp.base, "--token", idp.token, "--i-accept-side-effects", "--strict", "--json-output"]
    command = [program("scim-sanity"), *arguments]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    report = json.loads(run.stdout)
    assert [one for one in report["results"] if one["status"] not in ("pass", "skip")] == []
    assert report["summary"]["failed"] == report["summary"]["errors"] == 0
    assert report["summary"]["passed"] > 20
    assert idp.list("Users")["totalResults"] == idp.list("Groups")["totalResults"] == 0
