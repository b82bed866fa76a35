"""Labels have few values, whatever comes from outside."""

import pytest
from prometheus_client import CollectorRegistry

from scim_gateway.metrics import GatewayMetrics


def test_tenants_beyond_the_cap_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scim_gateway.metrics.MAX_TENANT_LABELS", 2)
    metrics = GatewayMetrics(CollectorRegistry())
    for tenant in ("a", "b", "c", "d", "a"):
        metrics.auth_failed(tenant, "revoked")
    seen = {
        sample.labels["tenant"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "scim_auth_failure_total"
    }
    assert seen == {"a": 2, "b": 1, "other": 2}


def test_unknown_methods_and_reasons_are_folded() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    metrics.auth_failed("unknown", "something the control plane made up")
    metrics.answered("/scim/v2/Users", "PROPFIND", 405, 0.1)
    value = metrics.registry.get_sample_value
    assert value("scim_auth_failure_total", {"tenant": "unknown", "reason": "other"}) == 1
    assert value("scim_http_requests_total", {"route": "/scim/v2/Users", "method": "other", "code": "405"}) == 1
