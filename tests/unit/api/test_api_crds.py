"""The CRDs beside the reference ones: every path there has the same facts here, or an exception with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from armature.api.crds import all_crds, crd, crd_kinds

CRDS = Path(__file__).parents[2] / "data" / "crds"
CLIENT = {"service": {"name": "webhook-service", "namespace": "system", "path": "/convert"}}
REQUEST, GRAPH, COMPONENT = (
    f"dynamo{name}" for name in ("graphdeploymentrequests", "graphdeployments", "componentdeployments")
)
NO_TYPE = "envelope of a version that is not in the seeds; refused by name"
WITHOUT_IT = "goes with spec.v1beta2, which is not offered"
READ_AS = "an empty model is never meant"

# (crd/version.path, what differs) -> why. A path may begin with * for all that end so.
EXCEPTIONS: dict[tuple[str, str], str] = {
    (f"{REQUEST}/v1beta1.spec.v1beta2", "absent"): NO_TYPE,
    (f"{REQUEST}/v1beta1.status.v1beta2", "absent"): NO_TYPE,
    (f"{REQUEST}/v1beta1.spec", "rules"): WITHOUT_IT,
    (f"{REQUEST}/v1beta1.status", "rules"): WITHOUT_IT,
    (f"{REQUEST}/v1beta1.spec", "required"): "without v1beta2 the reference's own rule makes model required",
    (f"{REQUEST}/v1beta1.spec.backend", "default"): "the webhook's there; ours holds without one (DGDR-05)",
    (f"{REQUEST}/v1beta1.spec.searchStrategy", "default"): "as backend (DGDR-06)",
    (f"{REQUEST}/v1beta1.spec.autoApply", "default"): "as backend (DGDR-07)",
    (f"{REQUEST}/v1beta1.spec.hardware.gpuSku", "enum"): "ours also knows gb300 and rtx_pro_6000",
    (f"{REQUEST}/v1alpha1.spec.backend", "enum"): "union with the proposal: any; auto as its newer name",
    (f"{REQUEST}/v1alpha1.spec.backend", "default"): "union: C-02, not required",
    (f"{REQUEST}/v1alpha1.spec", "required"): "union: backend and profilingConfig are not in the proposal",
    (f"{REQUEST}/v1alpha1.spec.model", "minLength"): READ_AS,
    (
        f"{REQUEST}/v1alpha1.spec.autoApply",
        "default",
    ): "false only with profilingConfig (C-11): request_to_beta",
    (f"{GRAPH}/v1beta1.spec.components[].replicas", "default"): "the webhook's there; ours holds without one",
    (f"{COMPONENT}/v1beta1.spec.replicas", "default"): "as in a graph",
    (f"{GRAPH}/v1alpha1.spec.topologyConstraint", "required"): (
        "topologyProfile of the seeds (A1-03) stands for it; one of them is demanded by validate"
    ),
    (
        f"{GRAPH}/v1alpha1.spec.services{{}}.checkpoint",
        "rules",
    ): "the seeds name neither ref nor identity (A1-15)",
    (f"{COMPONENT}/v1alpha1.spec.checkpoint", "rules"): "the seeds name neither ref nor identity (A1-15)",
    ("*checkpoint.identity.model", "minLength"): READ_AS,
    ("dynamocheckpoints/v1alpha1.spec.identity.model", "minLength"): READ_AS,
    ("*.status.readyEndpoints", "default"): "absent reads as 0",
    ("*.status.totalEndpoints", "default"): "absent reads as 0",
    ("*1", "required"): "an object without a spec asks for nothing",
}
KEYS = (
    *("type", "format", "default", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems"),
    *("maxItems", "maxProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"),
)
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a quarter of a million characters
REFERENCES = {
    crd["spec"]["names"]["kind"]: crd
    for crd in (yaml.load(path.read_text(), Loader=LOADER) for path in sorted(CRDS.iterdir()))
}


def differences(theirs: dict[str, Any], ours: dict[str, Any], path: str):
    """(path, what differs, there, here), depth first, for every path of the reference."""
    for key in KEYS:
        if theirs.get(key) != ours.get(key):
            yield path, key, theirs.get(key), ours.get(key)
    if sorted(theirs.get("enum", [])) != sorted(ours.get("enum", [])):
        yield path, "enum", theirs.get("enum"), ours.get("enum")
    if sorted(theirs.get("required", [])) != sorted(ours.get("required", [])):
        yield path, "required", theirs.get("required"), ours.get("required")
    rules = [rule["rule"] for rule in ours.get("x-kubernetes-validations", [])]
    missing = [rule for rule in theirs.get("x-kubernetes-validations", []) if rule["rule"] not in rules]
    if missing:
        yield path, "rules", missing, rules
    for name, schema in theirs.get("properties", {}).items():
        here = ours.get("properties", {}).get(name)
        if here is None:
            yield f"{path}.{name}", "absent", schema.get("type"), None
        else:
            yield from differences(schema, here, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in theirs:
            yield from differences(theirs[key], ours.get(key, {}), path + mark)


def kind_differences(kind: str):
    theirs, ours = REFERENCES[kind]["spec"], crd(kind, CLIENT)["spec"]
    plural = theirs["names"]["plural"]
    versions = {version["name"]: version for version in ours["versions"]}
    assert set(versions) == {version["name"] for version in theirs["versions"]}
    for version in theirs["versions"]:
        here, path = versions[version["name"]], f"{plural}/{version['name']}"
        yield from differences(version["schema"]["openAPIV3Schema"], here["schema"]["openAPIV3Schema"], path)
        for key in ("served", "storage", "subresources"):
            if version.get(key) != here.get(key):
                yield path, key, version.get(key), here.get(key)
        if version["additionalPrinterColumns"] != here["additionalPrinterColumns"]:
            yield path, "columns", version["additionalPrinterColumns"], here["additionalPrinterColumns"]


def exception(where: str, what: str) -> tuple[str, str] | None:
    for path, kind in EXCEPTIONS:
        if kind == what and (path == where or (path.startswith("*") and where.endswith(path[1:]))):
            return path, kind
    return None


def test_the_seven_kinds():
    """OP-02, and each with the names of the reference."""
    assert set(crd_kinds()) == set(REFERENCES)
    for ours in all_crds(CLIENT):
        theirs = REFERENCES[ours["spec"]["names"]["kind"]]
        assert ours["metadata"]["name"] == theirs["metadata"]["name"]
        assert ours["spec"]["scope"] == theirs["spec"]["scope"]
        names = {key: value for key, value in ours["spec"]["names"].items() if key != "categories"}
        assert names == theirs["spec"]["names"]
        assert ours["spec"]["conversion"] == theirs["spec"].get("conversion", {"strategy": "None"})


@pytest.mark.parametrize("kind", REFERENCES)
def test_every_path_of_the_reference_has_the_same_facts(kind):
    wrong = [item for item in kind_differences(kind) if exception(item[0], item[1]) is None]
    assert not wrong, json.dumps(wrong, indent=1, default=str)


def test_every_exception_is_still_needed():
    used = {exception(path, what) for kind in REFERENCES for path, what, _, _ in kind_differences(kind)}
    assert set(EXCEPTIONS) - used == set()


def test_the_walk_sees_a_difference():
    """The comparison above is not blind."""
    theirs = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x"]},
            "b": {"type": "integer", "default": 3, "format": "int32"},
            "c": {"type": "boolean"},
            "d": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["a"],
        "x-kubernetes-validations": [{"rule": "true"}],
    }
    ours = {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer", "default": 4},
            "d": {"type": "array", "items": {"type": "integer"}},
        },
    }
    kinds = {(path, what) for path, what, _, _ in differences(theirs, ours, "")}
    assert kinds == {
        ("", "required"), ("", "rules"), (".a", "enum"), (".b", "default"), (".b", "format"),
        (".c", "absent"), (".d[]", "type"),
    }  # fmt: skip


def walked(schema: dict[str, Any], path: str = ""):
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walked(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walked(schema[key], path + "[]")


def schemas(kind: str):
    for version in crd(kind, CLIENT)["spec"]["versions"]:
        yield version["name"], version["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("kind", REFERENCES)
def test_the_schema_is_structural(kind):
    """What an API server asks of a schema before it prunes or defaults: a type everywhere, no references, no null."""
    for _, schema in schemas(kind):
        for path, part in walked(schema):
            assert "$ref" not in part and "title" not in part, path
            if part.get("x-kubernetes-int-or-string"):
                assert part["anyOf"] == [{"type": "integer"}, {"type": "string"}]
                continue
            assert "type" in part, path
            assert "anyOf" not in part and part["type"] != "null", path
            assert ("items" in part) == (part["type"] == "array"), path
            if "default" in part:
                assert part["default"] is not None, path
            if part.get("x-kubernetes-list-type") == "map":
                keys = part["x-kubernetes-list-map-keys"]
                assert set(keys) <= set(part["items"]["required"]), path


def field(kind: str, version: str, path: str) -> dict[str, Any]:
    schema = dict(schemas(kind))[version]
    for name in path.split("."):
        schema = schema["items"] if name == "[]" else schema["properties"][name]
    return schema


def test_our_own_fields_are_in_the_schema_so_that_no_api_server_prunes_them():
    """C-13, DGDR-20, and the extensions for traces and speculation."""
    kind = "DynamoGraphDeploymentRequest"
    for path in (
        "spec.workload.traceRef.pvc.path",
        "spec.features.speculation.acceptanceRate",
        "status.profilingResults.completionTime",
    ):
        assert "type" in field(kind, "v1beta1", path)
    assert field(kind, "v1beta1", "status.profilingResults.startTime")["format"] == "date-time"
    keys = set(field(kind, "v1beta1", "status.profilingResults.pareto.[]")["properties"])
    assert {
        "backend",
        "parallelization",
        "throughput",
        "ttft",
        "itl",
        "source",
        "ttftLow",
        "ttftHigh",
    } <= keys
    assert field(kind, "v1beta1", "spec.autoApply")["default"] is True


def test_immutability_stands_in_the_schema():
    """VAL-07, VAL-09: it holds with every webhook down, in both served versions."""
    for version, state in (("v1beta1", "phase"), ("v1alpha1", "state")):
        (rule,) = dict(schemas("DynamoGraphDeploymentRequest"))[version]["x-kubernetes-validations"]
        assert f"oldSelf.status.{state}" in rule["rule"]
        assert "updates are forbidden while the resource is in phase" in rule["messageExpression"]
        assert (rule["fieldPath"], rule["reason"]) == (".spec", "FieldValueForbidden")
        fields = set(field("DynamoGraphDeploymentRequest", version, "spec")["properties"])
        free = {"autoApply"} | ({"runtimeVersionOverride"} if version == "v1beta1" else set())
        assert {
            name for name in fields if f"self.spec.{name} == oldSelf.spec.{name}" in rule["rule"]
        } == fields - free


def test_without_a_webhook_only_what_needs_none_is_served():
    """Renaming the version alone would make the API server prune what the other version does not know."""
    served = {
        ours["spec"]["names"]["kind"]: [v["name"] for v in ours["spec"]["versions"] if v["served"]]
        for ours in all_crds()
    }
    assert served["DynamoGraphDeploymentRequest"] == ["v1beta1"]
    assert served["DynamoGraphDeploymentScalingAdapter"] == ["v1alpha1"]
    assert served["DynamoModel"] == ["v1alpha1", "v1beta1"]
    assert all(ours["spec"]["conversion"] == {"strategy": "None"} for ours in all_crds())


def test_the_kinds_are_not_shared_between_callers():
    crd("DynamoModel")["spec"]["versions"].clear()
    assert len(crd("DynamoModel")["spec"]["versions"]) == 2
