"""Every field of the reference CRDs exists in the types, with the same type, enum, limits, default and requirement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from armature.api import DynamoCheckpoint, DynamoModel, v1alpha1, v1beta1

CRDS = Path(__file__).parents[2] / "data" / "crds"
TYPES = {
    ("dynamographdeploymentrequests", "v1beta1"): v1beta1.DynamoGraphDeploymentRequest,
    ("dynamographdeploymentrequests", "v1alpha1"): v1alpha1.DynamoGraphDeploymentRequest,
    ("dynamographdeployments", "v1beta1"): v1beta1.DynamoGraphDeployment,
    ("dynamographdeployments", "v1alpha1"): v1alpha1.DynamoGraphDeployment,
    ("dynamomodels", "v1alpha1"): DynamoModel,
    ("dynamomodels", "v1beta1"): DynamoModel,
    ("dynamocheckpoints", "v1alpha1"): DynamoCheckpoint,
}

REQUEST, GRAPH = "dynamographdeploymentrequests", "dynamographdeployments"
# (crd/version path, what differs) -> why. A path may end in * for all that starts so.
EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        f"{REQUEST}/v1beta1.spec.v1beta2",
        "absent",
    ): "envelope of a version that is not in the seeds; refused by name",
    (f"{REQUEST}/v1beta1.status.v1beta2", "absent"): "as above",
    (
        f"{REQUEST}/v1beta1.spec.model",
        "required",
    ): "without v1beta2 the CRD's expression makes model required",
    (f"{REQUEST}/v1beta1.spec.backend", "default"): "the webhook's default (dynamo-operator.md 3.9)",
    (f"{REQUEST}/v1beta1.spec.searchStrategy", "default"): "the webhook's default",
    (f"{REQUEST}/v1beta1.spec.autoApply", "default"): "the webhook's default",
    (f"{REQUEST}/v1beta1.spec.hardware.gpuSku", "enum"): "ours also knows gb300 and rtx_pro_6000",
    (f"{REQUEST}/v1alpha1.spec.backend", "enum"): "union with the proposal: any; auto as its newer name",
    (f"{REQUEST}/v1alpha1.spec.backend", "default"): "union: C-02, not required",
    (f"{REQUEST}/v1alpha1.spec.backend", "required"): "union: C-02, not required",
    (f"{REQUEST}/v1alpha1.spec.model", "minLength"): "an empty model is never meant",
    (f"{REQUEST}/v1alpha1.spec.profilingConfig", "required"): "the proposal has none",
    (
        f"{REQUEST}/v1alpha1.spec.autoApply",
        "default",
    ): "false only with profilingConfig (C-11): see convert_dgdr",
    (
        f"{REQUEST}/v1alpha1.status.profilingResults",
        "type",
    ): "a string when shipped, a mapping in the proposal",
    (
        f"{GRAPH}/v1beta1.spec.components[].replicas",
        "default",
    ): "the webhook's default (dynamo-operator.md 3.9)",
    (f"{GRAPH}/v1alpha1.spec.topologyConstraint.clusterTopologyName", "required"): (
        "topologyProfile of the seeds (A1-03) stands for it; one of them is demanded by validate"
    ),
    (
        f"{GRAPH}/v1alpha1.spec.services{{}}.multinode.nodeCount",
        "default",
    ): "required, so its default never acts",
    ("*.checkpoint.identity.model", "minLength"): "an empty model is never meant, in v1alpha1 as in v1beta1",
    ("dynamocheckpoints/v1alpha1.spec.identity.model", "minLength"): "as above",
    ("*.conditions[].*", "required"): "the proposal and older writers leave fields out; read tolerantly",
    ("*.conditions[].*", "minLength"): "written by us, not by users",
    ("*.conditions[].*", "maxLength"): "written by us, not by users",
    ("*.conditions[].*", "pattern"): "written by us, not by users",
    ("*.conditions[].*", "minimum"): "written by us, not by users",
    ("*.conditions[].*", "default"): "absent reads as empty",
    ("*.status.state", "required"): "its default acts",
    ("*.status.readyEndpoints", "required"): "absent reads as 0",
    ("*.status.totalEndpoints", "required"): "absent reads as 0",
    ("*.status.readyEndpoints", "default"): "absent reads as 0",
    ("*.status.totalEndpoints", "default"): "absent reads as 0",
}


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a quarter of a million characters


def cases():
    for (plural, version), cls in TYPES.items():
        crd = yaml.load((CRDS / f"{plural}.yaml").read_text(), Loader=LOADER)
        schema = next(v for v in crd["spec"]["versions"] if v["name"] == version)["schema"]["openAPIV3Schema"]
        yield pytest.param(schema, cls, f"{plural}/{version}", id=f"{plural}-{version}")


def unwrapped(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Our JSON schema without `$ref` and without the null of an optional field."""
    schema = dict(schema)
    options = [part for part in schema.get("anyOf", []) if part.get("type") != "null"]
    if len(options) == 1 and len(schema["anyOf"]) == 2:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return unwrapped({**options[0], **rest}, definitions)
    if "$ref" in schema:
        target = definitions[schema.pop("$ref").rsplit("/", 1)[-1]]
        return unwrapped({**target, **schema}, definitions)
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    return schema


def is_open(crd: dict[str, Any]) -> bool:
    return bool(crd.get("x-kubernetes-preserve-unknown-fields"))


def differences(crd, ours, definitions, path):
    """(path, what differs, in the CRD, in our types), depth first."""
    ours = unwrapped(ours, definitions)
    if crd.get("x-kubernetes-int-or-string"):
        if {part.get("type") for part in ours.get("anyOf", [])} != {"integer", "string"}:
            yield path, "type", "int-or-string", ours
        if ours.get("pattern") != crd["pattern"]:
            yield path, "pattern", crd["pattern"], ours.get("pattern")
        return
    if ours.get("type") != crd["type"]:
        yield path, "type", crd["type"], ours.get("type")
        return
    for key in (
        "minLength",
        "maxLength",
        "pattern",
        "maximum",
        "minItems",
        "maxItems",
        "maxProperties",
        "minimum",
    ):
        expected = crd.get(key)
        if key == "maximum" and expected is None:
            expected = {"int32": 2**31 - 1, "int64": 2**63 - 1}.get(crd.get("format", ""))
        if ours.get(key) != expected:
            yield path, key, expected, ours.get(key)
    if set(ours.get("enum", [])) != set(crd.get("enum", [])):
        yield path, "enum", crd.get("enum"), ours.get("enum")
    theirs = crd.get("default")
    if crd["type"] != "object" and ours.get("default") != theirs:
        yield path, "default", theirs, ours.get("default")
    if crd["type"] == "array":
        yield from differences(crd["items"], ours["items"], definitions, f"{path}[]")
    if crd["type"] != "object" or (is_open(crd) and "properties" not in crd):
        if crd["type"] == "object" and ours.get("additionalProperties") is not True:
            yield path, "type", "open mapping", ours
        return
    if "additionalProperties" in crd:
        yield from differences(
            crd["additionalProperties"], ours["additionalProperties"], definitions, path + "{}"
        )
    fields = ours.get("properties", {})
    for name, schema in crd.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        if name not in fields:
            yield where, "absent", schema.get("type"), None
            continue
        required = name in crd.get("required", [])
        if (name in ours.get("required", [])) != required:
            yield where, "required", required, not required
        yield from differences(schema, fields[name], definitions, where)


def exception(where: str, what: str) -> tuple[str, str] | None:
    for path, kind in EXCEPTIONS:
        if kind == what and (path == where or (path.startswith("*") and path.strip("*") in where)):
            return path, kind
    return None


def found_differences(crd, cls, name):
    schema = cls.model_json_schema(by_alias=True)
    found = []
    for part in ("spec", "status"):
        ours = schema["properties"][part]
        for path, what, theirs, actual in differences(crd["properties"][part], ours, schema["$defs"], part):
            found.append((f"{name}.{path}", what, theirs, actual))
    return found


@pytest.mark.parametrize(("crd", "cls", "name"), list(cases()))
def test_every_field_of_the_crd_is_in_the_types(crd, cls, name):
    found = found_differences(crd, cls, name)
    wrong = [item for item in found if exception(item[0], item[1]) is None]
    assert not wrong, json.dumps(wrong, indent=1, default=str)


def test_every_exception_is_still_needed():
    used = {exception(path, what) for case in cases() for path, what, _, _ in found_differences(*case.values)}
    assert set(EXCEPTIONS) - used == set()


def test_the_walk_sees_a_difference():
    """The comparison above is not blind: a wrong enum, a missing field and a wrong default are all found."""
    crd = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x"]},
            "b": {"type": "integer", "default": 3},
            "c": {"type": "boolean"},
        },
        "required": ["a"],
    }
    ours = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 4}}}
    kinds = {(path, what) for path, what, _, _ in differences(crd, ours, {}, "")}
    assert kinds == {("a", "required"), ("a", "enum"), ("b", "default"), ("c", "absent")}
