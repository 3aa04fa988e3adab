"""The testbed's API is a real one: discovery, Services with addresses, users, RBAC, ServiceAccount tokens."""

from __future__ import annotations

import ipaddress
import json

import pytest

from armature.errors import ArmatureError
from armature_testbed import components

ROLE = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
"""


def test_versions_are_those_of_the_modules(testbed):
    version = json.loads(testbed.kubectl("version", "--output=json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == "v1.36.3"
    assert version["serverVersion"]["minor"] == "36"


def test_every_process_runs(testbed):
    running = {component.name for component in testbed.state.components if component.running}
    assert running >= {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}


def test_services_get_addresses_of_their_own_that_are_local(testbed, namespace):
    for name in ("one", "two"):
        testbed.kubectl("create", "service", "clusterip", name, "--tcp=80", f"--namespace={namespace}")
    services = testbed.get("services", f"--namespace={namespace}")["items"]
    addresses = {service["spec"]["clusterIP"] for service in services}
    assert len(addresses) == 2
    assert all(
        ipaddress.ip_address(found) in ipaddress.ip_network(components.SERVICE_CIDR) for found in addresses
    )
    kubernetes = testbed.get("service", "kubernetes", "--namespace=default")
    assert kubernetes["spec"]["clusterIP"] == "10.96.0.1"


def test_a_user_may_do_what_a_role_says_and_no_more(testbed, namespace):
    nobody = testbed.user_kubeconfig("jane", ["dev"])
    with pytest.raises(ArmatureError, match=r'User "jane" cannot list resource "configmaps"'):
        testbed.kubectl("get", "configmaps", f"--namespace={namespace}", kubeconfig=nobody)
    testbed.kubectl("apply", f"--namespace={namespace}", "--filename=-", stdin=ROLE)
    reader = testbed.user_kubeconfig("joe", ["dev", "readers"])
    assert "kube-root-ca.crt" in testbed.kubectl(
        "get", "configmaps", f"--namespace={namespace}", kubeconfig=reader
    )
    with pytest.raises(ArmatureError, match=r'User "joe" cannot create resource "configmaps"'):
        testbed.kubectl("create", "configmap", "x", f"--namespace={namespace}", kubeconfig=reader)


def test_a_service_account_gets_a_token_that_is_taken(testbed, namespace):
    testbed.kubectl("create", "serviceaccount", "robot", f"--namespace={namespace}")
    token = testbed.kubectl("create", "token", "robot", f"--namespace={namespace}").strip()
    with testbed.client(token=token) as client:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review)
        assert answer.status_code == 201
        who = answer.json()["status"]["userInfo"]
        assert who["username"] == f"system:serviceaccount:{namespace}:robot"
        assert client.get(f"/api/v1/namespaces/{namespace}/pods").status_code == 403
    with testbed.client(token="not a token") as client:
        assert client.get("/api").status_code == 401
