"""Armature's own extensions of the request: `workload.traceRef` and `features.speculation`."""

from __future__ import annotations

import pytest

import armature.api as api


def request(workload=None, features=None):
    spec = {"model": "Qwen/Qwen3-0.6B"}
    spec |= {"workload": workload} if workload is not None else {}
    spec |= {"features": features} if features is not None else {}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"},
        "spec": spec,
    }


PLACES = [
    {"path": "traces/a.jsonl.gz"},
    {"configMap": {"name": "load", "key": "trace.csv"}},
    {"pvc": {"name": "data", "path": "traces/a.jsonl"}},
]


def test_the_default_lengths_beside_a_trace_are_an_api_servers():
    """It fills them in wherever there is a workload (DGDR-09); they say nothing."""
    document = request({"traceRef": {"path": "a"}, "isl": 4000, "osl": 1000})
    assert api.check(document)[1] == []


@pytest.mark.parametrize("place", PLACES)
def test_a_trace_in_each_place_loads_and_survives_every_round(place):
    document = request({"traceRef": place, "requestRate": 4.0})
    resource, problems = api.check(document)
    assert not problems
    assert api.to_dict(resource) == document
    filled = api.to_dict(api.default_request(resource))
    assert filled["spec"]["workload"] == {"traceRef": place, "requestRate": 4.0}, "no lengths but the trace's"
    assert api.check(filled)[1] == [], "what is filled is still a request"
    assert api.parse_tolerant(document).spec.workload.trace_ref == resource.spec.workload.trace_ref


BAD = {
    "no place": ({"traceRef": {}}, None, "spec.workload.traceRef: names no place"),
    "two places": (
        {"traceRef": {"path": "a", "pvc": {"name": "b", "path": "c"}}},
        None,
        "has path and pvc; give one of",
    ),
    "lengths beside it": (
        {"traceRef": {"path": "a"}, "isl": 5},
        None,
        "spec.workload.isl: cannot be combined with a trace (got 5); remove it: the trace has the lengths",
    ),
    "outside the volume": (
        {"traceRef": {"pvc": {"name": "b", "path": "../c"}}},
        None,
        "spec.workload.traceRef.pvc.path: must stay inside",
    ),
    "half a reference": ({"traceRef": {"configMap": {"name": "b"}}}, None, "traceRef.configMap.key"),
    "an empty path": ({"traceRef": {"path": ""}}, None, "spec.workload.traceRef.path"),
    "a typo": ({"traceref": {"path": "a"}}, None, "did you mean traceRef"),
    "no draft": (
        None,
        {"speculation": {"nextn": 0, "acceptanceRate": 0.8}},
        "speculation.nextn: must be at least 1",
    ),
    "a long draft": (
        None,
        {"speculation": {"nextn": 17, "acceptanceRate": 0.8}},
        "nextn: must be at most 16",
    ),
    "a rate in percent": (
        None,
        {"speculation": {"nextn": 1, "acceptanceRate": 80}},
        "acceptanceRate: must be above 0 and at most 1 (got 80.0)",
    ),
    "no rate": (None, {"speculation": {"nextn": 1}}, "spec.features.speculation.acceptanceRate"),
}


@pytest.mark.parametrize(("workload", "features", "said"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_meant_is_refused(workload, features, said):
    _, problems = api.check(request(workload, features))
    assert said in "\n".join(map(str, problems)), problems


def test_the_older_version_has_no_place_for_them():
    document = request({"traceRef": {"path": "a"}}) | {"apiVersion": "nvidia.com/v1alpha1"}
    _, problems = api.check(document)
    assert [p.path for p in problems] == ["spec.workload.traceRef"]
