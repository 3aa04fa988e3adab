"""All seven kinds are read, strictly from a file and tolerantly from an API server; each costs who uses it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import armature.api as api
from armature.api.crds import all_crds, crd_kinds
from armature.api.parse import served_versions

COMPONENT = {
    "name": "W",
    "backendFramework": "vllm",
    "podTemplate": {"spec": {"containers": [{"name": "main", "image": "i"}]}},
}
SPECS = {
    ("DynamoComponentDeployment", "v1beta1"): COMPONENT,
    ("DynamoComponentDeployment", "v1alpha1"): {
        "serviceName": "W",
        "replicas": 2,
        "backendFramework": "vllm",
    },
    ("DynamoGraphDeploymentScalingAdapter", "v1beta1"): {
        "dgdRef": {"name": "g", "componentName": "w"},
        "replicas": 1,
    },
    ("DynamoGraphDeploymentScalingAdapter", "v1alpha1"): {
        "dgdRef": {"name": "g", "serviceName": "w"},
        "replicas": 1,
    },
    ("DynamoWorkerMetadata", "v1alpha1"): {"data": {"any": ["thing"]}},
}


def document(kind, version, spec):
    return {"apiVersion": f"nvidia.com/{version}", "kind": kind, "metadata": {"name": "x.y"}, "spec": spec}


@pytest.mark.parametrize(("kind", "version"), SPECS)
def test_a_kind_that_operators_and_workers_write_is_read(kind, version):
    written = document(kind, version, SPECS[kind, version])
    resource, problems = api.check(written)
    assert problems == []
    assert api.to_dict(resource) == written
    assert api.warnings_of(resource) == ()
    tomorrow = {**written, "spec": {**written["spec"], "fromTomorrow": 1}, "status": {"fromTomorrow": 2}}
    if kind == "DynamoWorkerMetadata":  # it has no status
        del tomorrow["status"]
    assert api.to_dict(api.parse_tolerant(tomorrow)) == tomorrow
    _, problems = api.check(document(kind, version, {**SPECS[kind, version], "replica": 1}))
    assert [problem.rule for problem in problems] == ["unknown field"]


def test_the_rules_of_a_component_hold_where_it_stands_alone():
    _, problems = api.check(
        document("DynamoComponentDeployment", "v1beta1", {**COMPONENT, "minAvailable": 3})
    )
    assert [problem.path for problem in problems] == ["spec.minAvailable"]


def test_every_kind_with_a_crd_is_read_in_the_versions_of_the_crd():
    for ours in all_crds():
        names = {f"nvidia.com/{version['name']}" for version in ours["spec"]["versions"]}
        assert set(served_versions(ours["spec"]["names"]["kind"])) == names
    assert len(crd_kinds()) == 7


def test_a_plan_pays_for_none_of_it():
    """Neither the CRDs nor the conversion of an API server are imported with the API."""
    probe = (
        "import sys, armature.api; print([name for name in sys.modules if name.startswith('armature.api.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    for name in (
        "crds",
        "convert.lens",
        "convert.status",
        "adapter",
        "worker_metadata",
        "v1beta1.dcd",
        "v1alpha1.dgd",
    ):
        assert f"'armature.api.{name}'" not in loaded, name


def test_building_all_crds_is_quick():
    """Less than 100 ms; a busy machine may need some tries."""

    def seconds():
        begun = time.perf_counter()
        all_crds()
        return time.perf_counter() - begun

    assert min(seconds() for _ in range(10)) < 0.1
