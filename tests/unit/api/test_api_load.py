"""Loading a user's file: every error at once, each with path, rule and mend; the field's manifests load."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import armature.api as api
from armature.api import v1alpha1, v1beta1
from armature.errors import InvalidInput

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance"
CHECKPOINT = "deploy_operator_config_samples_nvidia.com_v1alpha1_dynamocheckpoint.yaml"
FILES = sorted(CONFORMANCE.glob("*.yaml"))

MINIMAL = """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata:
  name: qwen
spec:
  model: Qwen/Qwen3-0.6B
"""


def load(text):
    return api.load_documents(text, "request.yaml")


def errors_of(text):
    with pytest.raises(InvalidInput) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def request_with(lines):
    return MINIMAL + "".join(f"  {line}\n" for line in lines.splitlines())


@pytest.mark.parametrize("path", [f for f in FILES if f.name != CHECKPOINT], ids=lambda f: f.stem[-50:])
def test_every_conformance_manifest_loads_and_round_trips(path):
    """B1-08, A1-*: no problem, no unknown key, and writing it back loses nothing but nulls."""
    resources = api.load_file(path)
    written = [without_nulls(d) for d in yaml.safe_load_all(path.read_text()) if d is not None]
    assert [api.to_dict(resource) for resource in resources] == written
    for resource in resources:
        converted, _ = api.to_v1beta1(resource)
        assert (
            isinstance(converted, api.Foreign)
            or converted.api_version != "nvidia.com/v1alpha1"
            or (converted.kind in ("DynamoModel", "DynamoCheckpoint"))
        )
        assert api.validate(converted) == ()


def test_all_conformance_manifests_are_here():
    assert len(FILES) == 37


def test_the_checkpoint_sample_gives_the_error_of_its_known_fault():
    """dynamo-operator.md 6.1: the sample writes identity.framework where the type has backendFramework."""
    with pytest.raises(InvalidInput) as caught:
        api.load_file(CONFORMANCE / CHECKPOINT)
    found = [str(problem) for problem in caught.value.problems]
    assert found[0] == "spec.identity.framework: unknown field; did you mean backendFramework?"
    mended = (CONFORMANCE / CHECKPOINT).read_text().replace("framework:", "backendFramework:")
    mended = mended.replace("frameworkVersion:", "dynamoVersion:")
    (checkpoint,) = load(mended)
    assert any(
        "targetContainerName to checkpoint-worker" in warning for warning in api.warnings_of(checkpoint)
    )


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_minimal_request_and_its_defaults():
    """DGDR-03, DGDR-05 to 09, DGDR-12, C-04, C-05."""
    (request,) = load(MINIMAL)
    assert isinstance(request, v1beta1.DynamoGraphDeploymentRequest)
    full = api.default_request(request)
    assert api.to_dict(full)["spec"] == {
        "model": "Qwen/Qwen3-0.6B",
        "backend": "auto",
        "searchStrategy": "rapid",
        "autoApply": True,
        "workload": {"isl": 4000, "osl": 1000},
    }
    assert full.spec.sla.ttft is None
    assert full.spec.sla.itl is None
    assert api.to_dict(request)["spec"] == {"model": "Qwen/Qwen3-0.6B"}, "defaulting leaves its input alone"
    cached = api.default_request(load(request_with("modelCache: {pvcName: models}"))[0])
    assert cached.spec.model_cache.pvc_mount_path == "/opt/model-cache"
    assert api.to_dict(cached)["spec"]["modelCache"]["pvcMountPath"] == "/opt/model-cache"


def test_unknown_key_is_an_error_with_the_key_that_was_meant():
    assert errors_of(request_with("sla: {tfft: 100}")) == ["spec.sla.tfft: unknown field; did you mean ttft?"]
    assert errors_of(request_with("hardware: {gpu_sku: h200_sxm}")) == [
        "spec.hardware.gpu_sku: unknown field; did you mean gpuSku?"
    ]
    assert errors_of(MINIMAL.replace("  name: qwen", "  name: qwen\n  lables: {a: b}")) == [
        "metadata.lables: unknown field; did you mean labels?"
    ]
    (found,) = errors_of(request_with("zzz: 1"))
    assert found.startswith("spec.zzz: unknown field; fields here: autoApply, backend,")
    assert "v1beta2 envelope" in errors_of(request_with("v1beta2: {}"))[0]


def test_all_errors_are_reported_at_once():
    """Wrong types, unknown keys, missing fields and broken rules of one file stand in one error."""
    found = errors_of(
        """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeploymentRequest
metadata: {name: My_Request}
spec:
  backend: vlm
  searchStrategy: thorough
  sla: {tfft: 100, itl: fast, e2eLatency: -5}
  workload: {isl: "3000", osl: 0}
  hardware: {gpuSku: NVIDIA-H200, totalGpus: 0, rdma: 1}
  features: {planner: {ttft_m: 4}}
"""
    )
    assert found == [
        "spec.sla.tfft: unknown field; did you mean ttft?",
        "spec.model: required field is missing; add model",
        "spec.backend: must be one of auto, sglang, trtllm, vllm (got 'vlm'); did you mean vllm?",
        "spec.hardware.gpuSku: not a GPU SKU name (got 'NVIDIA-H200'); write h200_sxm",
        "spec.hardware.rdma: must be true or false (got 1)",
        "spec.workload.isl: must be a whole number (got '3000'); remove the quotes: 3000",
        "spec.sla.itl: must be a number (got 'fast')",
        "metadata.name: is not a DNS-1123 name: lowercase letters, digits and dashes, from letter or digit to "
        "letter or digit (got 'My_Request'); write my-request",
        "spec.searchStrategy: is incompatible with spec.backend \"auto\" (got 'thorough'); set "
        "spec.backend to a specific backend (sglang, trtllm, or vllm)",
        "spec.sla.e2eLatency: must be greater than 0 ms (got -5.0)",
        "spec.workload.osl: must be between 1 and 1048576 tokens (got 0); write the tokens of one typical request",
        "spec.hardware.totalGpus: must be at least 1 (got 0)",
        "spec.features.planner.ttft_m: unknown planner setting; did you mean ttft_ms?",
    ]


def test_errors_in_lists_and_maps_have_the_path_as_written():
    """Positions and names are the user's, also after an entry that cannot be read."""
    found = errors_of(
        """\
apiVersion: nvidia.com/v1beta1
kind: DynamoGraphDeployment
metadata: {name: g}
spec:
  components:
  - {type: worker, replicas: "2"}
  - name: Frontend
    typ: frontend
    podTemplate: {spec: {containers: [{name: main, image: x, args: [--port, 8000]}]}}
  - 7
"""
    )
    assert found == [
        "spec.components[1].typ: unknown field; did you mean type?",
        "spec.components[0].name: required field is missing; add name",
        "spec.components[0].replicas: must be a whole number (got '2'); remove the quotes: 2",
        "spec.components[2]: must be a mapping (got 7); write `key: value` lines below it",
        "spec.components[1].podTemplate.spec.containers[0].args[1]: must be a string (got 8000); "
        'put it in quotes: "8000"',
    ]


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ("workload: {isl: 4000.0}", "write 4000"),
        ("workload: {isl: 1e3}", "write 1000"),
        ("workload: {isl: true}", "must be a whole number (got True)"),
        ("sla: {ttft: '200'}", "remove the quotes: 200"),
        ("sla: {ttft: true}", "must be a number (got True)"),
        ("sla: {ttft: .nan}", "must be a finite number"),
        ("sla: {ttft: .inf}", "must be a finite number"),
        ("autoApply: 'true'", "remove the quotes: true"),
        ("image: 1.5", 'put it in quotes: "1.5"'),
        ("sla: 5", "must be a mapping"),
        ("sla: []", "must be a mapping"),
        ("overrides: {dgd: x}", "must be a mapping"),
        ("runtimeVersionOverride: v1.2", "does not match"),
        ("hardware: {totalGpus: 99999999999}", "must be at most 2147483647"),
    ],
)
def test_wrong_types_are_not_coerced(line, mend):
    (found,) = errors_of(request_with(line))
    assert mend in found


def test_ints_are_fine_for_floats_and_nulls_are_absent():
    (request,) = load(request_with("sla: {ttft: 200, itl: null}\nworkload:\nfeatures: {planner: ~}"))
    assert request.spec.sla.ttft == 200
    assert request.spec.sla.itl is None
    assert api.to_dict(request)["spec"] == {"model": "Qwen/Qwen3-0.6B", "sla": {"ttft": 200}, "features": {}}


def test_null_containers_count_as_absent():
    """dynamo-operator.md 6.1: samples carry `containers: null` under extraPodSpec."""
    text = (
        "apiVersion: nvidia.com/v1alpha1\nkind: DynamoGraphDeployment\nmetadata: {name: g}\nspec:\n  services:\n"
        "    W: {componentType: worker, extraPodSpec: {containers: null, mainContainer: {image: x}}}\n"
    )
    graph, _ = api.to_v1beta1(load(text)[0])
    assert graph.spec.components[0].pod_template == {"spec": {"containers": [{"name": "main", "image": "x"}]}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "file: empty"),
        ("# only a comment\n---\n", "file: empty"),
        ("- a\n- b\n", "document: must be a mapping, not a list"),
        ("just words", "document: must be a mapping, not a string"),
        ("a: [", "line 2, column 1: not YAML"),
        (MINIMAL.replace("v1beta1", "v1beta2"), "did you mean nvidia.com/v1beta1?"),
        (MINIMAL.replace("nvidia.com/v1beta1", "nvidia.com/v1"), "did you mean nvidia.com/v1beta1?"),
        (MINIMAL.replace("nvidia.com/", "nvdia.com/"), "did you mean nvidia.com/v1beta1?"),
        (MINIMAL.replace("apiVersion: nvidia.com/v1beta1\n", ""), "add apiVersion: nvidia.com/v1beta1"),
        (
            MINIMAL.replace("DeploymentRequest", "DeploymentReqest"),
            "did you mean DynamoGraphDeploymentRequest?",
        ),
        (
            MINIMAL.replace("DynamoGraphDeploymentRequest", "dgdr"),
            "did you mean DynamoGraphDeploymentRequest?",
        ),
        (
            MINIMAL.replace("DynamoGraphDeploymentRequest", "Zebra"),
            "kind: unknown kind (got 'Zebra'); one of",
        ),
        (MINIMAL.replace("kind: DynamoGraphDeploymentRequest\n", ""), "kind: required field is missing"),
        (MINIMAL.replace("kind: DynamoGraphDeploymentRequest", "kind: 5"), "kind: must be a string"),
        (MINIMAL.split("spec:")[0], "spec: required field is missing"),
        (MINIMAL.replace("  name: qwen", "  labels: {}"), "metadata.name: required field is missing"),
        (MINIMAL.replace("name: qwen", "name: " + "q" * 64), "longer than 63 characters (64)"),
        (MINIMAL + MINIMAL, "apiVersion: key appears twice"),
    ],
)
def test_bad_files_say_what_is_wrong(text, expected):
    found = errors_of(text)
    assert any(expected in line for line in found), found


def test_a_misspelt_kind_does_not_hide_the_other_errors():
    found = errors_of(
        MINIMAL.replace("DynamoGraphDeploymentRequest", "DynamoGraphDeploymentReqest") + "  isl: 5\n"
    )
    assert len(found) == 2
    assert found[1].startswith("spec.isl: unknown field")


def test_a_name_of_63_characters_passes():
    assert load(MINIMAL.replace("name: qwen", "name: " + "q" * 63))


def test_documents_are_told_apart_and_foreign_kinds_are_kept():
    foreign = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n"
    pool = "apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {name: p}\nspec: {x: [1]}\n"
    resources = load(f"{foreign}---\n{MINIMAL}---\n{pool}")
    assert [type(r).__name__ for r in resources] == ["Foreign", "DynamoGraphDeploymentRequest", "Foreign"]
    assert api.to_dict(resources[0])["data"] == {"a": "b"}
    assert resources[2].spec == {"x": [1]}
    found = errors_of(f"{MINIMAL}  isl: 1\n---\n{MINIMAL}  osl: 1\n")
    assert [line.split(";")[0] for line in found] == [
        "document 1: spec.isl: unknown field",
        "document 2: spec.osl: unknown field",
    ]


def test_load_one(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(MINIMAL)
    assert api.load_one(path).metadata.name == "qwen"
    path.write_text(f"{MINIMAL}---\n{MINIMAL}")
    with pytest.raises(InvalidInput, match="holds 2 documents"):
        api.load_one(path)
    path.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
    with pytest.raises(InvalidInput, match=r"not a kind of nvidia\.com"):
        api.load_one(path)


def test_files_that_cannot_be_read(tmp_path):
    for path, expected in [
        (tmp_path / "none.yaml", "not found"),
        (tmp_path, "is a directory"),
        (Path("a\0b"), "cannot be read"),
    ]:
        with pytest.raises(InvalidInput, match=expected):
            api.load_file(path)
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        api.load_file(binary)
    binary.write_bytes(b"a: " + b"\xc3\xa9" * 1_600_000)
    with pytest.raises(InvalidInput, match="larger than 3 MB"):
        api.load_file(binary)
    binary.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert api.load_one(binary).metadata.name == "qwen"


def test_tolerant_reading_keeps_what_it_does_not_know():
    stored = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": "g", "uid": "1", "managedFields": [{"manager": "x"}], "newField": {"a": 1}},
        "spec": {
            "components": [
                {"name": "w", "gpu_sku": "kept", "multinode": {"nodeCount": 2, "later": [1, {"b": 2}]}}
            ],
            "futureField": {"x": [1]},
        },
        "status": {"state": "pending", "newStatus": True},
    }
    before = copy.deepcopy(stored)
    assert api.to_dict(api.parse_tolerant(stored)) == before
    assert stored == before, "parsing leaves its input alone"
    with pytest.raises(InvalidInput, match=r"spec\.components"):
        api.parse_tolerant({**stored, "spec": {"components": "x"}})
    with pytest.raises(InvalidInput, match="unknown version"):
        api.parse_tolerant({**stored, "apiVersion": "nvidia.com/v9"})


def test_writes_hold_only_what_was_set_also_when_set_in_place():
    spec = v1beta1.RequestSpec(model="m")
    request = v1beta1.DynamoGraphDeploymentRequest(metadata=api.Metadata(name="r"), spec=spec)
    request.spec.sla.ttft = 200.0
    component = v1beta1.Component(name="w")
    component.pod_template["spec"] = {"containers": []}
    assert api.to_dict(request) == {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"},
        "spec": {"model": "m", "sla": {"ttft": 200.0}},
    }
    assert api.to_dict(component) == {"name": "w", "podTemplate": {"spec": {"containers": []}}}
    assert load(api.to_yaml(request))[0] == request


def test_presence_survives_a_round_trip():
    """`failover: {}` and `scalingAdapter: {}` switch things on."""
    (graph,) = api.load_file(CONFORMANCE / "examples_backends_vllm_deploy_v1beta1_agg_failover.yaml")
    experimental = graph.spec.components[1].experimental
    assert experimental.failover.mode == "IntraPod"
    assert api.to_dict(graph)["spec"]["components"][1]["experimental"] == {
        "failover": {},
        "gpuMemoryService": {},
    }


def test_both_versions_load_to_their_own_classes():
    (old,) = api.load_file(CONFORMANCE / "examples_backends_vllm_deploy_agg.yaml")
    (new,) = api.load_file(CONFORMANCE / "examples_backends_vllm_deploy_v1beta1_agg.yaml")
    assert isinstance(old, v1alpha1.DynamoGraphDeployment)
    assert isinstance(new, v1beta1.DynamoGraphDeployment)
    assert new.spec.components[1].replicas == 1
    assert new.spec.components[1].pod_template["spec"]["containers"][0]["name"] == "main"


TEMPLATE = yaml.safe_load((CONFORMANCE / "deploy_operator_config_samples_v1beta1_dgdr.yaml").read_text())
GRAPH = yaml.safe_load((CONFORMANCE / "examples_backends_vllm_deploy_agg_kvbm.yaml").read_text())
OLD = yaml.safe_load((CONFORMANCE / "benchmarks_profiler_deploy_profile_sla_moe_dgdr.yaml").read_text())
junk = st.sampled_from(
    [None, True, 0, -1, 2.5, float("inf"), "", "x", [], [1], [None], {}, {"a": 1}, {"name": []}]
)


def paths(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*at, key))


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_any_value_anywhere_gives_a_resource_or_clear_problems(data):
    """One value of a sound file, two at times, replaced by junk: never anything but InvalidInput or a resource."""
    document = copy.deepcopy(data.draw(st.sampled_from([TEMPLATE, GRAPH, OLD])))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([p for p in paths(document) if p]))
        place = document
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = copy.deepcopy(data.draw(junk))
    resource, problems = api.check(document)
    assert resource is not None or problems
    for problem in problems:
        assert problem.path
        assert problem.rule
    if not problems:
        converted, _ = api.to_v1beta1(resource)
        assert api.validate(converted) == ()
        api.warnings_of(resource)
        assert load(api.to_yaml(resource))[0] == resource


def test_import_stays_lean():
    """A cold import pulls in neither the estimator nor numpy nor an HTTP client."""
    code = "import sys, armature.api; print([m for m in ('numpy', 'httpx', 'msgspec', 'rich') if m in sys.modules])"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", f"took {time.monotonic() - started:.2f} s"
