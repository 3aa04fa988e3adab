"""The webhooks of a DynamoGraphDeploymentRequest: defaults (reference §3.9), rules and texts (§§4.1, 4.2, VAL-*)."""

from __future__ import annotations

import pytest
from reviews import EVERYTHING, OPERATOR, messages, obj, patched, validate

from armature.operator.admission.policy import Policy

MODEL = "Qwen/Qwen3-0.6B"
SPEC = {"model": MODEL, "backend": "vllm", "searchStrategy": "rapid", "autoApply": True}
HELD = SPEC | {"autoApply": False}
FORBIDDEN = (
    'spec: updates are forbidden while the resource is in phase "{phase}"; '
    "delete and recreate the resource to change its spec"
)
ALPHA = {
    "model": MODEL,
    "backend": "vllm",
    "profilingConfig": {
        "profilerImage": "r/vllm-runtime:1.0.0",
        "config": {"sla": {"isl": 3000, "osl": 150}},
    },
}


def in_phase(phase, spec=SPEC, **metadata):
    return obj(spec, status={"phase": phase}, **metadata)


# Defaults


def test_a_request_gets_the_defaults_of_the_field_on_create():
    """§3.9, DGDR-05 to 07. The image stays open: C-03, the Job runs the operator's own."""
    assert patched(obj({"model": MODEL}))["spec"] == {
        "model": MODEL,
        "backend": "auto",
        "searchStrategy": "rapid",
        "autoApply": True,
    }


def test_what_is_stated_stays_and_null_or_empty_counts_as_absent():
    spec = {"model": MODEL, "backend": "", "searchStrategy": None, "autoApply": False, "image": "r/x:1.1.1"}
    assert patched(obj(spec))["spec"] == spec | {"backend": "auto", "searchStrategy": "rapid"}


def test_an_image_is_filled_in_where_the_settings_name_one():
    policy = Policy(default_image="r/dynamo-planner:1.1.1")
    assert patched(obj({"model": MODEL}), policy=policy)["spec"]["image"] == "r/dynamo-planner:1.1.1"


def test_an_update_is_not_defaulted():
    assert patched(obj({"model": MODEL}), obj({"model": MODEL}))["spec"] == {"model": MODEL}


@pytest.mark.parametrize(("spec", "applies"), [(ALPHA, False), ({"model": MODEL}, True)])
def test_v1alpha1_has_the_default_of_its_form(spec, applies):
    """C-11: shipped, it stops at a plan; in the proposal it applies."""
    assert patched(obj(spec, version="v1alpha1"))["spec"] == spec | {"autoApply": applies}


@pytest.mark.parametrize("spec", [None, [], "x", 3])
def test_a_spec_of_another_shape_is_left_to_the_schema(spec):
    assert patched(obj(spec))["spec"] == spec


# Rules


def test_a_sound_request_is_allowed_without_a_word():
    assert validate(obj(SPEC)) == {"uid": "u-1", "allowed": True}


def test_all_problems_come_at_once_each_in_one_line():
    spec = {
        "model": MODEL,
        "backend": "auto",
        "searchStrategy": "thorough",
        "sla": {"ttft": 100.0, "e2eLatency": 900.0},
        "workload": {"isl": 0, "requestRate": 1.0, "concurrency": 2.0},
    }
    lines = messages(obj(spec))
    assert [line.split(":")[0] for line in lines] == [
        "spec.searchStrategy",
        "spec.sla.e2eLatency",
        "spec.workload.isl",
        "spec.workload.requestRate",
    ]
    assert lines[0] == (
        "spec.searchStrategy: is incompatible with spec.backend \"auto\" (got 'thorough'); "
        "set spec.backend to a specific backend (sglang, trtllm, or vllm)"
    )


def test_a_refusal_has_the_causes_that_kubectl_prints():
    status = validate(obj(SPEC | {"sla": {"ttft": -1.0}}))["status"]
    assert (status["code"], status["reason"], status["details"]["name"]) == (422, "Invalid", "qwen")
    assert status["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": "spec.sla.ttft",
            "message": "must be greater than 0 ms (got -1.0)",
        }
    ]


def test_hardware_must_be_stated_where_it_is_not_discovered():
    blind = Policy(discover=False)
    text = "GPU hardware configuration is required when GPU discovery is disabled"
    assert [text in line for line in messages(obj(SPEC), policy=blind)] == [True]
    assert messages(obj(SPEC | {"hardware": {"gpuSku": "h200_sxm"}}), policy=blind) == []
    [line] = messages(obj(ALPHA, version="v1alpha1"), policy=blind)
    assert line.startswith("spec.profilingConfig.config.hardware: GPU hardware")


@pytest.mark.parametrize(
    ("image", "warned"),
    [("r/x:my-tag", True), ("r/x@sha256:0", True), ("r:5000/x:1.1.1", False), (None, False)],
)
def test_an_image_without_a_version_is_warned_about(image, warned):
    """§4.1's newest refusal, a warning here: samples of the field have such tags."""
    response = validate(obj(SPEC | ({"image": image} if image else {})))
    said = "is required when spec.image has no parseable semantic-version tag"
    assert response["allowed"]
    assert any(said in warning for warning in response.get("warnings", [])) == warned


def test_v1alpha1_needs_what_its_shipped_form_needed():
    """§4.2. The proposal's form, without profilingConfig, does not."""
    bare = ALPHA | {"profilingConfig": {"profilerImage": "r/x:1.0.0", "config": {}}}
    [line] = messages(obj(bare, version="v1alpha1"))
    assert line.startswith("spec.profilingConfig.config: is required and must not be empty")
    lines = messages(obj(ALPHA | {"profilingConfig": {}}, version="v1alpha1"))
    assert any(line.startswith("spec.profilingConfig.profilerImage: is required") for line in lines)
    assert messages(obj({"model": MODEL}, version="v1alpha1")) == []


def test_v1alpha1_turned_range_and_overwritten_fields():
    config = {
        "hardware": {"minNumGpusPerEngine": 4, "maxNumGpusPerEngine": 2},
        "engine": {"backend": "sglang"},
        "deployment": {"model": "other"},
    }
    spec = ALPHA | {"profilingConfig": ALPHA["profilingConfig"] | {"config": config}}
    [line] = messages(obj(spec, version="v1alpha1"))
    text = "invalid GPU range: minNumGpusPerEngine (4) cannot be greater than maxNumGpusPerEngine (2)"
    assert text in line
    spec["profilingConfig"]["config"]["hardware"] = {}
    warnings = validate(obj(spec | {"enableGpuDiscovery": True}, version="v1alpha1"))["warnings"]
    for field, inner, outer in (
        ("engine.backend", "sglang", "vllm"),
        ("deployment.model", "other", MODEL),
    ):
        said = (
            f"spec.profilingConfig.config.{field} ({inner}) will be overwritten by "
            f"spec.{field.split('.')[1]} ({outer})"
        )
        assert said in warnings
    assert any(w.startswith("spec.enableGpuDiscovery is deprecated") for w in warnings)


def test_a_misspelt_key_is_ours_to_find_only_where_the_cluster_has_no_schema():
    """Elsewhere the API server's strict decoding speaks (issue 5 §5)."""
    assert messages(obj(SPEC | {"sla": {"tfft": 1.0}})) == []
    override = {"spec": {"componets": []}}
    [line] = messages(obj(SPEC | {"overrides": {"dgd": override}}))
    assert line.startswith("spec.overrides.dgd.spec.componets: unknown field")


def test_a_name_that_the_server_will_make_up_is_judged_as_it_will_be():
    request = obj(SPEC, generateName="qwen-")
    del request["metadata"]["name"]
    assert messages(request) == []
    request["metadata"]["generateName"] = "q" * 60
    assert messages(request)[0].startswith("metadata.name: longer than 63")


# Immutability (VAL-07, C-19, §4.1)


@pytest.mark.parametrize("phase", ["Profiling", "Ready", "Deploying", "Deployed"])
def test_the_spec_stays_once_profiling_began(phase):
    old, new = in_phase(phase), in_phase(phase, SPEC | {"backend": "sglang"})
    assert messages(new, old) == [FORBIDDEN.format(phase=phase)]
    assert validate(new, old)["status"]["details"]["causes"][0]["reason"] == "FieldValueForbidden"


@pytest.mark.parametrize("phase", ["Pending", "Failed", "", None])
def test_before_that_and_after_a_failure_it_may_change(phase):
    assert messages(in_phase(phase, SPEC | {"backend": "sglang"}), in_phase(phase)) == []


@pytest.mark.parametrize(
    ("phase", "old", "change", "allowed"),
    [
        ("Profiling", HELD, {"runtimeVersionOverride": "1.1.1"}, True),
        ("Ready", HELD, {"runtimeVersionOverride": "1.1.1"}, True),
        ("Ready", HELD, {"autoApply": True}, True),
        ("Ready", HELD, {"autoApply": True, "runtimeVersionOverride": "1.1.1"}, True),
        ("Ready", HELD, {"autoApply": None}, True),  # absent is true in v1beta1
        ("Profiling", HELD, {"autoApply": True}, False),
        ("Ready", HELD, {"backend": "sglang"}, False),
        ("Ready", HELD, {"autoApply": True, "backend": "sglang"}, False),
        ("Ready", SPEC, {"runtimeVersionOverride": "1.1.1"}, False),
        ("Ready", SPEC, {"autoApply": False}, False),
        ("Deploying", HELD, {"runtimeVersionOverride": "1.1.1"}, False),
        ("Deployed", HELD, {"autoApply": True}, False),
    ],
)
def test_exceptions_for_a_plan_that_waits(phase, old, change, allowed):
    lines = messages(in_phase(phase, old | change), in_phase(phase, old))
    assert lines == ([] if allowed else [FORBIDDEN.format(phase=phase)])


def test_metadata_may_change_at_any_time_and_null_is_no_change():
    new = in_phase("Deployed", SPEC | {"sla": None}, annotations={"dgdr.nvidia.com/selected-point": "3"})
    assert messages(new, in_phase("Deployed")) == []


def test_the_operator_writes_down_the_hardware_while_pending():
    found = SPEC | {"hardware": {"gpuSku": "h200_sxm", "totalGpus": 16, "numGpusPerNode": 8}}
    assert messages(in_phase("Pending", found), in_phase("Pending"), user=OPERATOR) == []
    assert messages(in_phase("Profiling", found), in_phase("Profiling"), user=OPERATOR) == [
        FORBIDDEN.format(phase="Profiling")
    ]


@pytest.mark.parametrize("state", ["Profiling", "Ready", "Deploying", "DeploymentDeleted"])
def test_v1alpha1_is_held_by_its_state(state):
    old = obj(ALPHA | {"autoApply": True}, version="v1alpha1", status={"state": state})
    new = obj(ALPHA | {"autoApply": True, "backend": "sglang"}, version="v1alpha1", status={"state": state})
    assert messages(new, old) == [FORBIDDEN.format(phase=state)]


def test_v1alpha1_left_open_counts_as_held():
    old = obj(ALPHA, version="v1alpha1", status={"state": "Ready"})
    assert messages(obj(ALPHA | {"autoApply": True}, version="v1alpha1"), old) == []


# Ratcheting, deletion, other namespaces


def test_an_old_fault_does_not_hold_up_an_update_and_a_new_one_does():
    bad = SPEC | {"sla": {"ttft": -1.0}}
    assert messages(obj(bad | {"backend": "sglang"}), obj(bad)) == []
    [line] = messages(obj(bad | {"workload": {"isl": 0}}), obj(bad))
    assert line.startswith("spec.workload.isl")
    [line] = messages(obj(SPEC | {"sla": {"ttft": -2.0}}), obj(bad))
    assert line.startswith("spec.sla.ttft")


def test_an_old_fault_that_only_moved_in_a_list_is_an_old_fault():
    def graph(*names):
        parts = [{"name": name, "type": "worker", "frontendSidecar": "x"} for name in names]
        return obj({"components": parts}, kind="DynamoGraphDeployment")

    assert messages(graph("a", "b"))[0].startswith("spec.components[0].")
    assert messages(graph("b", "a"), graph("a", "b")) == []


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_deletion_is_never_held_up(operation):
    """WH-08."""
    assert messages(None, in_phase("Deployed"), operation=operation) == []


def test_an_object_that_goes_is_not_judged():
    """WH-08: its finalizer can be taken off whatever else is wrong with it."""
    going = in_phase("Deployed", SPEC | {"backend": "nonsense"}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert messages(going, in_phase("Deployed")) == []


def test_a_namespace_of_another_operator_is_left_alone():
    """WH-12."""
    policy = Policy(skips=lambda namespace: namespace == "team")
    assert messages(obj({"model": MODEL, "sla": {"ttft": -1.0}}), policy=policy) == []
    assert EVERYTHING.skips("team") is False


def test_status_is_not_judged():
    assert messages(obj(SPEC, status={"phase": "Nonsense", "conditions": 3})) == []
    assert messages(obj({"model": 3}, status={}), obj(SPEC), subResource="status") == []
