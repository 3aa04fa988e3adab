"""The objects that make the API server ask (WH-01, WH-04, WH-11)."""

from __future__ import annotations

import pytest

from armature.api.crds import crd
from armature.operator.admission.configurations import (
    WebhookOptions,
    configuration_names,
    conversion_client,
    mutating,
    validating,
)

OPTIONS = WebhookOptions(release="platform-operator", service="webhook", namespace="dynamo-system")


def test_names_follow_release_and_namespace():
    """WH-11's own examples."""
    assert configuration_names("platform-operator")[0] == "platform-operator-validating"
    assert configuration_names("team-a-operator", "team-a")[0] == "team-a-operator-validating-team-a"
    assert validating(OPTIONS)["metadata"]["name"] == "platform-operator-validating"
    assert mutating(OPTIONS)["metadata"]["name"] == "platform-operator-mutating"


def test_a_webhook_for_each_kind_as_the_field_sets_it():
    webhooks = {hook["name"]: hook for hook in validating(OPTIONS)["webhooks"]}
    assert len(webhooks) == 6
    hook = webhooks["vdynamocomponentdeployment.nvidia.com"]
    assert hook["clientConfig"]["service"] == {
        "name": "webhook",
        "namespace": "dynamo-system",
        "path": "/validate-nvidia-com-v1alpha1-dynamocomponentdeployment",
        "port": 443,
    }
    wanted = ("Fail", 10, "None", "Equivalent", {})
    keys = ("failurePolicy", "timeoutSeconds", "sideEffects", "matchPolicy", "namespaceSelector")
    for hook in webhooks.values():
        assert tuple(hook[key] for key in keys) == wanted
        [rule] = hook["rules"]
        assert rule["operations"] == ["CREATE", "UPDATE"]  # never DELETE: WH-08
        assert "v1alpha1" in rule["apiVersions"]


def test_defaults_are_for_requests_and_graphs():
    """C-35."""
    names = [hook["rules"][0]["resources"] for hook in mutating(OPTIONS)["webhooks"]]
    assert names == [["dynamographdeploymentrequests"], ["dynamographdeployments"]]


@pytest.mark.parametrize("render", [validating, mutating])
def test_what_an_installer_may_choose(render):
    chosen = WebhookOptions(
        release="r",
        service="s",
        namespace="n",
        url="https://127.0.0.1:9443",
        ca_bundle="QQ==",
        certificate="n/cert",
        failure_policy="Ignore",
        timeout_s=5,
        namespace_selector={"matchLabels": {"dynamo-validation": "enabled"}},
        skip_deleting=False,
    )
    configuration = render(chosen)
    assert configuration["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "n/cert"}
    for hook in configuration["webhooks"]:
        assert hook["clientConfig"]["url"].startswith("https://127.0.0.1:9443/")
        assert hook["clientConfig"]["caBundle"] == "QQ=="
        assert (hook["failurePolicy"], hook["timeoutSeconds"]) == ("Ignore", 5)
        assert hook["namespaceSelector"] == {"matchLabels": {"dynamo-validation": "enabled"}}
        assert "matchConditions" not in hook


def test_an_operator_of_one_namespace_is_asked_about_no_other():
    configuration = validating(WebhookOptions(release="r", service="s", namespace="n", only_namespace="n"))
    for hook in configuration["webhooks"]:
        assert hook["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "n"}}


def test_conversion_asks_the_same_server():
    path = conversion_client(OPTIONS)["service"]["path"]
    assert path == "/convert"
    conversion = crd("DynamoGraphDeployment", conversion_client(OPTIONS))["spec"]["conversion"]
    assert conversion["webhook"]["clientConfig"]["service"]["name"] == "webhook"
