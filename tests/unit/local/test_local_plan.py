"""A graph becomes processes: every runnable conformance graph, and the rules one by one (issue 3 §7)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

from armature import api
from armature.api import v1beta1
from armature.errors import InvalidInput, ModelUnknown, NothingFits, PreflightFailed
from armature.graph.build import build
from armature.hardware.catalog import GPUS
from armature.hardware.inventory import parse_hardware
from armature.local.engine import engine_for
from armature.local.environment import plain_env
from armature.local.options import UpOptions
from armature.local.plan import process_specs
from armature.local.spec import Launch, ProcessSpec
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.perf.estimate import EngineSpec
from armature.perf.silicon import estimator as silicon_estimator
from armature.perf.steptable import StepTable
from armature.search.operating import CHUNK_TOKENS
from armature.search.rapid import profile as search

CONFORMANCE = Path(__file__).parents[2] / "data" / "conformance"
TABLE = StepTable(
    source="estimated",
    isl=(1.0, 1000.0),
    prefill_ms=(1.0, 50.0),
    batch=(1.0, 64.0),
    context=(1.0, 1000.0),
    chunk=(1.0, 1000.0),
    decode_ms=((5.0, 8.0), (6.0, 9.0)),
    mixed_ms=(((5.0, 8.0), (6.0, 9.0)), ((55.0, 58.0), (56.0, 59.0))),
)


def graphs() -> list[Path]:
    texts = {path: path.read_text() for path in sorted(CONFORMANCE.glob("*.yaml"))}
    return [path for path, text in texts.items() if "kind: DynamoGraphDeployment\n" in text]


def launch_of(path: Path, home: Path, **changes: Any) -> Launch:
    resources = api.load_documents(path.read_text(), path.name)
    dgd = next(item for item in resources if item.kind == "DynamoGraphDeployment")
    extras = [doc for doc in yaml.safe_load_all(path.read_text()) if doc and doc["kind"] == "ConfigMap"]
    graph, _ = api.to_v1beta1(dgd)
    return process_specs(graph, options=UpOptions(home=home, offline=True, **changes), extras=extras)


def graph(*components: dict[str, Any], name: str = "g", env: list[dict[str, Any]] | None = None):
    spec: dict[str, Any] = {"components": list(components)}
    if env:
        spec["env"] = env
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name},
        "spec": spec,
    }
    return v1beta1.DynamoGraphDeployment.model_validate(document)


def component(name: str, kind: str | None, *args: str, command: tuple[str, ...] = (), **more: Any):
    container: dict[str, Any] = {"name": "main", "image": "i"}
    if command:
        container["command"] = list(command)
    if args:
        container["args"] = list(args)
    if (env := more.pop("env", None)) is not None:
        container["env"] = env
    if (gpus := more.pop("gpus", 0)) > 0:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
    pod = {"containers": [container], **more.pop("pod", {})}
    made = {"name": name, "replicas": 1, "podTemplate": {"spec": pod}, **more}
    return made if kind is None else {**made, "type": kind}


VLLM = ("python3", "-m", "dynamo.vllm")
FRONTEND = component("Frontend", "frontend")


def worker(name: str = "Worker", kind: str | None = "worker", *args: str, **more: Any):
    return component(name, kind, "--model", "Qwen/Qwen3-0.6B", *args, command=VLLM, **more)


def plan(*components: dict[str, Any], home: Path = Path("/h"), env=None, extras=(), **options: Any) -> Launch:
    """With step times at hand, so that no test pays for an estimate it does not look at."""
    chosen = UpOptions(home=home, offline=True, **{"step_table": canned.table, **options})
    return process_specs(graph(*components, env=env), options=chosen, extras=extras)


def flag(process: ProcessSpec, name: str) -> str | None:
    words = process.argv
    return words[words.index(name) + 1] if name in words else None


def named(launch: Launch, name: str) -> ProcessSpec:
    return next(process for process in launch.processes if process.name == name)


EXPECTED = {
    # file: (worker processes, roles, served model)
    "aiconfigurator_agg_vllm_qwen3-32b-fp8_h200x8.yaml": (8, {"agg"}, "Qwen/Qwen3-32B-FP8"),
    "aiconfigurator_disagg_sglang_qwen3-32b-fp8_h200x8.yaml": (
        8,
        {"prefill", "decode"},
        "Qwen/Qwen3-32B-FP8",
    ),
    "aiconfigurator_disagg_trtllm_qwen3-32b-fp8_h200x8.yaml": (
        6,
        {"prefill", "decode"},
        "Qwen/Qwen3-32B-FP8",
    ),
    "examples_backends_mocker_deploy_disagg.yaml": (
        2,
        {"prefill", "decode"},
        "nvidia/Llama-3.1-8B-Instruct-FP8",
    ),
    "examples_backends_sglang_deploy_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_sglang_deploy_disagg-multinode.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_sglang_deploy_disagg.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_sglang_deploy_v1beta1_disagg.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_disagg-multinode.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_disagg.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_disagg_planner.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_v1beta1_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_trtllm_deploy_v1beta1_disagg-multinode.yaml": (
        2,
        {"prefill", "decode"},
        "Qwen/Qwen3-0.6B",
    ),
    "examples_backends_trtllm_deploy_v1beta1_snapshot-restore.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_agg_kvbm.yaml": (1, {"agg"}, "Qwen/Qwen3-8B"),
    "examples_backends_vllm_deploy_agg_router.yaml": (2, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_disagg-multinode.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_disagg.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_disagg_router.yaml": (4, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_gaie_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_v1beta1_agg.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_v1beta1_agg_failover.yaml": (1, {"agg"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_v1beta1_disagg-multinode.yaml": (
        2,
        {"prefill", "decode"},
        "Qwen/Qwen3-0.6B",
    ),
    "examples_backends_vllm_deploy_v1beta1_disagg.yaml": (2, {"prefill", "decode"}, "Qwen/Qwen3-0.6B"),
    "examples_backends_vllm_deploy_v1beta1_disagg_planner.yaml": (
        2,
        {"prefill", "decode"},
        "Qwen/Qwen3-0.6B",
    ),
    "recipes_deepseek-r1_sglang_disagg-16gpu_deploy.yaml": (
        2,
        {"prefill", "decode"},
        "deepseek-ai/DeepSeek-R1",
    ),
}
NOT_RUNNABLE = "examples_backends_vllm_deploy_sidecar_disagg.yaml"


def test_every_conformance_graph_is_expected_to_run_or_known_not_to():
    assert {path.name for path in graphs()} == {*EXPECTED, NOT_RUNNABLE}


def canned(view, role, **_):
    """Step times at hand, so that mapping many graphs costs no estimate; the engine's own rules run below."""
    options = UpOptions(offline=True, step_table=canned.table, home=Path("/h"))
    return engine_for(view, role, profile=None, options=options)


@pytest.fixture(autouse=True)
def _table_file(tmp_path):
    canned.table = tmp_path / "table.json"
    canned.table.write_bytes(msgspec.json.encode(TABLE))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_conformance_graph_maps_to_processes(name, tmp_path):
    """PK-05, PK-06, A1-22, A1-24, C-42, C-43."""
    workers, roles, model = EXPECTED[name]
    resources = api.load_documents((CONFORMANCE / name).read_text(), name)
    dgd = next(item for item in resources if item.kind == "DynamoGraphDeployment")
    launch = process_specs(
        api.to_v1beta1(dgd)[0], options=UpOptions(home=tmp_path, offline=True), engine_of=canned
    )
    assert len(launch.workers) == workers
    assert {process.role for process in launch.workers} == roles
    assert launch.models == (model,)
    assert [process.kind for process in launch.processes].count("frontend") == 1
    assert launch.port == 8000
    assert launch.processes[-1].kind == "frontend"  # and thus stopped first
    for process in launch.workers:
        assert process.argv[:3] == (sys.executable, "-m", "armature.serving.mocker")
        assert flag(process, "--served-model-name") == model
        assert flag(process, "--step-table") in launch.files
        assert int(flag(process, "--num-gpu-blocks") or 0) > 0
    assert len({process.name for process in launch.processes}) == len(launch.processes)
    assert len(set(launch.notes)) == len(launch.notes)


def test_a_graph_without_a_worker_of_ours_is_refused_with_the_reason(tmp_path):
    with pytest.raises(PreflightFailed, match="no worker that can run here"):
        launch_of(CONFORMANCE / NOT_RUNNABLE, tmp_path)


def test_limits_come_from_a_bash_script_with_arrays_and_a_here_document(tmp_path):
    """A1-24: the generator's TensorRT-LLM scripts write their engine configuration."""
    launch = launch_of(CONFORMANCE / "aiconfigurator_disagg_trtllm_qwen3-32b-fp8_h200x8.yaml", tmp_path)
    decode = named(launch, "TRTLLMDecodeWorker-0")
    assert (flag(decode, "--max-num-seqs"), flag(decode, "--max-num-batched-tokens")) == ("256", "256")
    assert flag(decode, "--block-size") == "32"
    prefill = named(launch, "TRTLLMPrefillWorker-0")
    assert flag(prefill, "--max-num-batched-tokens") == "4512"
    assert any("h200_sxm, the GPU its pod asks for" in note for note in launch.notes)
    table = msgspec.json.decode(launch.files[flag(decode, "--step-table") or ""], type=StepTable)
    assert table.source == "calibrated"


def test_a_config_map_that_came_along_tells_the_parallelism(tmp_path):
    path = CONFORMANCE / "examples_backends_trtllm_deploy_disagg-multinode.yaml"
    launch = launch_of(path, tmp_path, step_table=canned.table)
    assert any(
        "16 x h100_sxm" in note for note in launch.notes
    )  # tp 8 each, from prefill.yaml and decode.yaml
    assert any("one mocker stands in for all" in note for note in launch.notes)


def test_prefill_and_decode_share_a_transfer_time_that_follows_the_cache(tmp_path):
    path = CONFORMANCE / "examples_backends_mocker_deploy_disagg.yaml"
    launch = launch_of(path, tmp_path, step_table=canned.table)
    per_token = float(flag(named(launch, "decode-0"), "--kv-transfer-ms-per-token") or 0)
    # 32 layers x 2 x 8 KV heads x 128 x 1 byte (fp8 KV) = 65,536 bytes a token, over NVLink's 450 GB/s
    assert per_token == pytest.approx(65_536 / 450e9 * 1000, rel=0.01)
    assert flag(named(launch, "prefill-0"), "--kv-transfer-ms-per-token") is None


def test_a_frontend_with_only_an_image_gets_the_default_command():
    launch = plan(FRONTEND, worker())  # A1-22
    frontend = named(launch, "Frontend-0")
    assert frontend.argv[:3] == (sys.executable, "-m", "armature.serving.frontend")
    assert flag(frontend, "--port") == "8000"
    assert flag(frontend, "--namespace") == flag(named(launch, "Worker-0"), "--namespace") == "default-g"


def test_the_port_is_the_users_then_the_graphs_then_8000():
    by_flag = component(
        "Frontend", "frontend", "-m", "dynamo.frontend", "--http-port=9000", command=("python3",)
    )
    assert plan(by_flag, worker()).port == 9000
    by_env = component("Frontend", "frontend", env=[{"name": "DYN_HTTP_PORT", "value": "9001"}])
    assert plan(by_env, worker()).port == 9001
    assert plan(by_flag, worker(), port=0).port == 0
    assert plan(by_flag, worker(), port=7000, host="::1").host == "::1"


def test_the_router_mode_comes_from_flag_or_environment_and_kv_is_said_to_be_missing():
    env = [{"name": "DYN_ROUTER_MODE", "value": "least-loaded"}]
    launch = plan(component("Frontend", "frontend", env=env), worker())
    assert flag(named(launch, "Frontend-0"), "--router-mode") == "least-loaded"
    by_graph = plan(FRONTEND, worker(), env=[{"name": "DYN_ROUTER_MODE", "value": "random"}])
    assert flag(named(by_graph, "Frontend-0"), "--router-mode") == "random"
    kv = plan(
        component(
            "Frontend", "frontend", "-m", "dynamo.frontend", "--router-mode", "kv", command=("python3",)
        ),
        worker(),
    )
    assert any("KV-aware routing is not built yet" in note for note in kv.notes)
    direct = [{"name": "DYN_ROUTER_MODE", "value": "direct"}]
    launch = plan(component("Frontend", "frontend", env=direct), worker())
    assert flag(named(launch, "Frontend-0"), "--router-mode") == "round-robin"
    assert any("'direct'" in note for note in launch.notes)


def test_roles_by_type_by_flag_and_by_elimination():
    """C-42: beside a prefill worker, a worker that says nothing decodes."""
    by_flag = plan(FRONTEND, worker("P", "worker", "--is-prefill-worker"), worker("D", "worker"))
    assert [process.role for process in by_flag.workers] == ["prefill", "decode"]  # C-43
    by_type = plan(FRONTEND, worker("P", "prefill"), worker("D", "decode"))
    assert [process.role for process in by_type.workers] == ["prefill", "decode"]
    by_mode = plan(
        FRONTEND,
        worker("P", "worker", "--disaggregation-mode", "prefill"),
        worker("D", None, "--disaggregation-mode", "decode"),
    )
    assert [process.role for process in by_mode.workers] == ["prefill", "decode"]
    alone = plan(FRONTEND, worker("D", "decode"))
    assert [process.role for process in alone.workers] == ["agg"]
    assert any("it does both" in note for note in alone.notes)


def test_replicas_become_processes_and_none_is_allowed():
    launch = plan(FRONTEND, worker("A", "worker", replicas=3), worker("B", "worker", replicas=0))
    assert [process.name for process in launch.workers] == ["A-0", "A-1", "A-2"]
    assert [flag(process, "--seed") for process in launch.workers] == ["0", "1", "2"]


def test_several_frontends_share_no_port():
    launch = plan({**FRONTEND, "replicas": 2}, worker())
    assert [flag(process, "--port") for process in launch.processes[1:]] == ["8000", "0"]


@pytest.mark.parametrize("own", [True, False])
def test_where_the_model_has_no_tokeniser_it_is_said_that_bytes_count_as_tokens(tmp_path, own):
    def engine_of(view, role, **given):
        return dataclasses.replace(canned(view, role, **given), tokenizer=tmp_path if own else None)

    launch = process_specs(graph(FRONTEND, worker()), engine_of=engine_of)
    assert any("each byte of text counts as a token" in note for note in launch.notes) != own


def test_ignored_flags_are_said_once_with_the_reason():
    args = ("--kv-transfer-config", "{}", "--gpu-memory-utilization", "0.8", "--enforce-eager")
    launch = plan(FRONTEND, worker("A", "worker", *args), worker("B", "worker", *args))
    said = [note for note in launch.notes if note.startswith("Ignored here")]
    assert said == [
        "Ignored here: --kv-transfer-config (no KV cache moves between GPUs); --enforce-eager (no kernels run)."
    ]


def test_a_slip_in_a_flag_is_pointed_out():
    launch = plan(FRONTEND, worker("A", "worker", "--max-num-seq", "8"))
    assert any("--max-num-seq is not a flag of vllm; --max-num-seqs is" in note for note in launch.notes)


def test_the_planner_and_strange_commands_are_left_out_aloud():
    launch = plan(
        FRONTEND,
        worker(),
        component("Planner", "planner", "-m", "dynamo.planner", command=("python3",)),
        component("Other", "worker", command=("my-engine", "--serve")),
    )
    assert any(note.startswith("Planner is left out") for note in launch.notes)
    assert any("Other is left out: 'my-engine --serve'" in note for note in launch.notes)
    assert {process.component for process in launch.processes} == {"Frontend", "Worker"}


def test_a_graph_without_a_frontend_gets_one():
    launch = plan(worker())
    assert named(launch, "Frontend-0").kind == "frontend"
    assert any("no frontend of its own" in note for note in launch.notes)


def test_plain_environment_passes_and_the_rest_is_named():
    items = [
        {"name": "A", "value": "1"},
        {"name": "PATH", "value": "/opt/bin"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "A", "value": "2"},
        {"name": "EMPTY"},
    ]
    passed, left_out = plain_env(items)
    assert passed == {"A": "2", "EMPTY": ""}
    assert left_out == ["PATH (names a place in the image)", "HF_TOKEN (its value is in the cluster)"]
    launch = plan(FRONTEND, worker("W", "worker", env=items), env=[{"name": "G", "value": "g"}])
    assert named(launch, "W-0").env == {"G": "g", "A": "2", "EMPTY": ""}
    assert any(note.startswith("Environment not passed on: HF_TOKEN") for note in launch.notes)


def test_vllm_defaults_where_flags_are_silent():
    process = plan(FRONTEND, worker()).workers[0]
    assert flag(process, "--max-num-seqs") == "256"
    assert flag(process, "--max-num-batched-tokens") == "8192"
    assert flag(process, "--max-model-len") == "40960"  # the model's own
    assert flag(process, "--block-size") == "16"
    assert flag(process, "--speedup-ratio") == "1"


def test_flags_and_options_reach_the_mocker():
    args = (
        *(
            "--max-num-seqs",
            "32",
            "--max-num-batched-tokens=2048",
            "--max-model-len",
            "4096",
            "--block-size",
            "32",
        ),
        *("--num-gpu-blocks-override", "777", "--no-enable-prefix-caching", "--data-parallel-size", "2"),
    )
    process = plan(FRONTEND, worker("W", "worker", *args), speedup_ratio=2.5).workers[0]
    found = {
        name: flag(process, name)
        for name in (
            *("--max-num-seqs", "--max-num-batched-tokens", "--max-model-len", "--block-size"),
            *("--num-gpu-blocks", "--dp", "--speedup-ratio"),
        )
    }
    assert list(found.values()) == ["32", "2048", "4096", "32", "777", "2", "2.5"]
    assert "--no-enable-prefix-caching" in process.argv


def test_kv_room_follows_the_gpu():
    small = plan(FRONTEND, worker(), hardware=parse_hardware("1xl4")).workers[0]
    large = plan(FRONTEND, worker(), hardware=parse_hardware("1xh200_sxm")).workers[0]
    assert int(flag(small, "--num-gpu-blocks") or 0) * 5 < int(flag(large, "--num-gpu-blocks") or 0)


def test_a_model_that_does_not_fit_the_stated_gpus_is_refused():
    big = component("W", "worker", "--model", "Qwen/Qwen3-32B", command=VLLM)
    with pytest.raises(NothingFits, match="does not fit l4"):
        plan(FRONTEND, big, hardware=parse_hardware("1xl4"))


def test_without_stated_gpus_the_first_usual_one_that_fits_is_assumed():
    big = component(
        "W",
        "worker",
        *("--model", "deepseek-ai/DeepSeek-R1", "--tensor-parallel-size", "8", "--max-model-len", "8192"),
        command=VLLM,
    )
    launch = plan(FRONTEND, big, step_table=None)
    assert any("on h200_sxm, a GPU assumed" in note for note in launch.notes)  # 8 x H100 are too small


def test_an_unknown_model_needs_a_step_table(tmp_path):
    unknown = component("W", "worker", "--model", "nobody/knows-this", command=VLLM)
    with pytest.raises(ModelUnknown):
        plan(FRONTEND, unknown, step_table=None)
    launch = plan(FRONTEND, unknown)
    assert launch.models == ("nobody/knows-this",)
    assert any("nothing is known about nobody/knows-this" in note for note in launch.notes)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(InvalidInput, match="--step-table"):
        plan(FRONTEND, unknown, step_table=bad)


def test_a_worker_without_a_model_is_one_clear_error():
    with pytest.raises(InvalidInput, match="names no model"):
        plan(FRONTEND, component("W", "worker", command=VLLM))


def test_a_mounted_step_table_is_used_as_it_is():
    """What `graph.build` writes for mockers: the table in a ConfigMap that the worker mounts."""
    extra = {
        "kind": "ConfigMap",
        "metadata": {"name": "files"},
        "data": {"step_table.json": msgspec.json.encode(TABLE).decode()},
    }
    pod = {"volumes": [{"name": "v", "configMap": {"name": "files"}}]}
    launch = plan(FRONTEND, worker("W", "worker", pod=pod), extras=[extra], step_table=None)
    table = launch.files[flag(launch.workers[0], "--step-table") or ""]
    assert msgspec.json.decode(table, type=StepTable) == TABLE


def test_a_name_that_is_no_directory_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"metadata\.name"):
        process_specs(graph(FRONTEND, worker(), name="../x"), options=UpOptions(home=tmp_path, offline=True))


@pytest.fixture(scope="module")
def planned():
    """A small plan and its graph, predicted by the roofline, which is quick."""
    request = api.default_request(
        v1beta1.DynamoGraphDeploymentRequest.model_validate(
            {
                "apiVersion": "nvidia.com/v1beta1",
                "kind": "DynamoGraphDeploymentRequest",
                "metadata": {"name": "r"},
                "spec": {"model": "Qwen/Qwen3-8B", "backend": "vllm", "workload": {"isl": 1000, "osl": 100}},
            }
        )
    )
    facts = resolve_model("Qwen/Qwen3-8B", offline=True)
    found = search(request, parse_hardware("2xh100_sxm"), facts, estimator_for("roofline"))
    return found, build(found, request)


def test_with_its_profile_a_graph_runs_on_the_picks_numbers(planned):
    profile, made = planned
    options = UpOptions(home=Path("/h"), offline=True)
    launch = process_specs(made.dgd, profile=profile, options=options, extras=made.extras)
    group = profile.picked.groups[0]
    process = launch.workers[0]
    assert len(launch.workers) == sum(each.replicas for each in profile.picked.groups)
    assert flag(process, "--max-num-seqs") == str(group.max_num_seqs)
    assert flag(process, "--num-gpu-blocks") == str(
        group.kv_room_tokens // int(flag(process, "--block-size") or 0)
    )
    table = msgspec.json.decode(launch.files[flag(process, "--step-table") or ""], type=StepTable)
    assert table == profile.step_tables[group.role]
    assert any("on the profile's step times" in note for note in launch.notes)
    assert not any("estimated (" in note for note in launch.notes)


def test_a_bare_graph_runs_on_the_same_step_times_from_the_users_cache(planned, tmp_path, monkeypatch):
    """Issue 4: plan and mocker agree; a second start loads no tables."""
    pytest.importorskip("aiconfigurator_core")
    monkeypatch.setenv("ARMATURE_CACHE", str(tmp_path))
    profile, made = planned
    group = profile.picked.groups[0]
    spec = EngineSpec(
        resolve_model("Qwen/Qwen3-8B", offline=True),
        GPUS["h100_sxm"],
        "vllm",
        group.parallelism,
        group.kv_dtype,
    )
    times = estimator_for("auto").engine(spec)
    options = UpOptions(home=Path("/h"), offline=True)

    def table_of(launch):
        return msgspec.json.decode(
            launch.files[flag(launch.workers[0], "--step-table") or ""], type=StepTable
        )

    table = table_of(process_specs(made.dgd, profile=None, options=options, extras=made.extras))
    assert table.source == "calibrated"
    theirs = profile.step_tables[group.role]
    shared = sorted({*table.isl} & {*theirs.isl})
    assert max(shared) >= 8192
    at = dict(zip(table.isl, table.prefill_ms, strict=True))
    assert [at[isl] for isl in shared] == pytest.approx(times.prefill_ms(np.array(shared)), rel=1e-4)
    assert table.isl[-1] >= CHUNK_TOKENS + table.batch[-1]
    assert list((tmp_path / "steps").iterdir())
    monkeypatch.setattr(silicon_estimator, "measured", lambda *_: pytest.fail("asked again"))
    again = process_specs(made.dgd, profile=None, options=options, extras=made.extras)
    assert table_of(again) == table


def test_a_worker_that_is_not_the_picks_gets_an_estimate_of_its_own(planned):
    profile, _ = planned
    other = component(
        "W", "worker", *("--model", "Qwen/Qwen3-8B", "--tensor-parallel-size", "8"), command=VLLM
    )
    options = UpOptions(home=Path("/h"), offline=True, step_table=canned.table)
    launch = process_specs(graph(FRONTEND, other), profile=profile, options=options)
    assert any("W: step times from the given table" in note for note in launch.notes)
