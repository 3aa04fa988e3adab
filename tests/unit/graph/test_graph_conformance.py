"""The field's own manifests: every command is read right, and preflight finds what is wrong with them, no more."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from armature import api
from armature.api import v1alpha1, v1beta1
from armature.graph.build import Graph
from armature.graph.component_view import views
from armature.graph.preflight import gpu_count, preflight
from armature.model.parallelism import Parallelism

FOLDER = Path(__file__).parents[2] / "data" / "conformance"
TP1, TP2, TP8 = Parallelism(), Parallelism(tp=2), Parallelism(tp=8)
QWEN, FP8 = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-32B-FP8"

# File: graph's GPUs, then per worker (module, role, model, parallelism, max_num_seqs, max_model_len).
READ: dict[str, tuple[int, dict[str, tuple]]] = {
    "aiconfigurator_agg_vllm_qwen3-32b-fp8_h200x8": (8, {"VllmWorker": ("vllm", "agg", FP8, TP1, 512, 6500)}),
    "aiconfigurator_disagg_sglang_qwen3-32b-fp8_h200x8": (
        8,
        {
            "SGLangPrefillWorker": ("sglang", "prefill", FP8, TP1, 1, None),
            "SGLangDecodeWorker": ("sglang", "decode", FP8, TP1, 512, None),
        },
    ),
    "aiconfigurator_disagg_trtllm_qwen3-32b-fp8_h200x8": (
        8,
        {
            "TRTLLMPrefillWorker": ("trtllm", "prefill", FP8, TP1, 1, None),
            "TRTLLMDecodeWorker": ("trtllm", "decode", FP8, TP2, 256, None),
        },
    ),
    "examples_backends_mocker_deploy_disagg": (
        0,
        {
            "prefill": ("mocker", "prefill", "nvidia/Llama-3.1-8B-Instruct-FP8", None, None, None),
            "decode": ("mocker", "decode", "nvidia/Llama-3.1-8B-Instruct-FP8", None, None, None),
        },
    ),
    "examples_backends_sglang_deploy_agg": (1, {"decode": ("sglang", "agg", QWEN, TP1, None, None)}),
    "examples_backends_sglang_deploy_disagg-multinode": (
        16,
        {
            "prefill": ("sglang", "prefill", QWEN, TP8, None, None),
            "decode": ("sglang", "decode", QWEN, TP8, None, None),
        },
    ),
    "examples_backends_sglang_deploy_disagg": (
        2,
        {
            "prefill": ("sglang", "prefill", QWEN, TP1, None, None),
            "decode": ("sglang", "decode", QWEN, TP1, None, None),
        },
    ),
    "examples_backends_sglang_deploy_v1beta1_disagg": (
        2,
        {
            "prefill": ("sglang", "prefill", QWEN, TP1, None, None),
            "decode": ("sglang", "decode", QWEN, TP1, None, None),
        },
    ),
    "examples_backends_trtllm_deploy_agg": (1, {"TRTLLMWorker": ("trtllm", "agg", QWEN, None, None, None)}),
    "examples_backends_trtllm_deploy_disagg-multinode": (
        16,
        {
            "prefill": ("trtllm", "prefill", QWEN, TP8, None, None),
            "decode": ("trtllm", "decode", QWEN, TP8, None, None),
        },
    ),
    "examples_backends_trtllm_deploy_disagg": (
        2,
        {
            "prefill": ("trtllm", "prefill", QWEN, None, None, None),
            "decode": ("trtllm", "decode", QWEN, None, None, None),
        },
    ),
    "examples_backends_trtllm_deploy_disagg_planner": (
        2,
        {
            "TRTLLMPrefillWorker": ("trtllm", "prefill", QWEN, None, None, None),
            "TRTLLMDecodeWorker": ("trtllm", "decode", QWEN, None, None, None),
        },
    ),
    "examples_backends_trtllm_deploy_v1beta1_agg": (
        1,
        {"TRTLLMWorker": ("trtllm", "agg", QWEN, None, None, None)},
    ),
    "examples_backends_trtllm_deploy_v1beta1_disagg-multinode": (
        16,
        {
            "prefill": ("trtllm", "prefill", QWEN, TP8, None, None),
            "decode": ("trtllm", "decode", QWEN, TP8, None, None),
        },
    ),
    "examples_backends_trtllm_deploy_v1beta1_snapshot-restore": (
        1,
        {"TRTLLMWorker": ("trtllm", "agg", QWEN, None, None, None)},
    ),
    "examples_backends_vllm_deploy_agg": (1, {"worker": ("vllm", "agg", QWEN, TP1, None, None)}),
    "examples_backends_vllm_deploy_agg_kvbm": (
        1,
        {"VllmDecodeWorker": ("vllm", "agg", "Qwen/Qwen3-8B", TP1, None, 32000)},
    ),
    "examples_backends_vllm_deploy_agg_router": (
        2,
        {"VllmDecodeWorker": ("vllm", "agg", QWEN, TP1, None, None)},
    ),
    "examples_backends_vllm_deploy_disagg-multinode": (
        4,
        {
            "prefill": ("vllm", "prefill", QWEN, TP2, None, None),
            "decode": (
                "vllm",
                "decode",
                QWEN,
                TP2,
                None,
                None,
            ),  # by its graph: neither type nor flag says it
        },
    ),
    "examples_backends_vllm_deploy_disagg": (
        2,
        {
            "VllmPrefillWorker": ("vllm", "prefill", QWEN, TP1, None, None),
            "VllmDecodeWorker": ("vllm", "decode", QWEN, TP1, None, None),
        },
    ),
    "examples_backends_vllm_deploy_disagg_router": (
        4,
        {
            "VllmPrefillWorker": ("vllm", "prefill", QWEN, TP1, None, None),
            "VllmDecodeWorker": ("vllm", "decode", QWEN, TP1, None, None),
        },
    ),
    "examples_backends_vllm_deploy_gaie_agg": (
        1,
        {"worker": ("vllm", "agg", QWEN, TP1, None, None)},  # typed decode, but nothing prefills for it
    ),
    "examples_backends_vllm_deploy_sidecar_disagg": (
        2,
        {
            "VllmSidecarPrefillWorker": ("", "agg", None, TP1, None, None),  # not a dynamo module: not judged
            "VllmSidecarDecodeWorker": ("", "agg", None, TP1, None, None),
        },
    ),
    "examples_backends_vllm_deploy_v1beta1_agg": (
        1,
        {"VllmDecodeWorker": ("vllm", "agg", QWEN, TP1, None, None)},
    ),
    "examples_backends_vllm_deploy_v1beta1_agg_failover": (
        2,
        {"VllmWorker": ("vllm", "agg", QWEN, TP2, None, None)},
    ),
    "examples_backends_vllm_deploy_v1beta1_disagg-multinode": (
        4,
        {
            "prefill": ("vllm", "prefill", QWEN, TP2, None, None),
            "decode": ("vllm", "decode", QWEN, TP2, None, None),
        },
    ),
    "examples_backends_vllm_deploy_v1beta1_disagg": (
        2,
        {
            "VllmPrefillWorker": ("vllm", "prefill", QWEN, TP1, None, None),
            "VllmDecodeWorker": ("vllm", "decode", QWEN, TP1, None, None),
        },
    ),
    "examples_backends_vllm_deploy_v1beta1_disagg_planner": (
        2,
        {
            "VllmPrefillWorker": ("vllm", "prefill", QWEN, TP1, None, None),
            "VllmDecodeWorker": ("vllm", "decode", QWEN, TP1, None, None),
        },
    ),
    "recipes_deepseek-r1_sglang_disagg-16gpu_deploy": (
        16,
        {
            "prefill": (
                "sglang",
                "prefill",
                "/model-cache/deepseek-r1",
                Parallelism(tp=8, moe_tp=1, moe_ep=8),
                None,
                None,
            ),
            "decode": (
                "sglang",
                "decode",
                "/model-cache/deepseek-r1",
                Parallelism(1, 1, 8, 1, 8),
                None,
                None,
            ),
        },
    ),
}

# What preflight says, by file, and why that is right: a sample with a hole to fill cannot start as it is.
TEMPLATES = {
    "examples_backends_sglang_deploy_disagg-multinode",
    "examples_backends_trtllm_deploy_disagg-multinode",
    "examples_backends_vllm_deploy_agg_kvbm",
    "examples_backends_vllm_deploy_agg_router",
    "examples_backends_vllm_deploy_disagg-multinode",
    "examples_backends_vllm_deploy_disagg",
    "examples_backends_vllm_deploy_disagg_router",
}
"""Their images end in `:${VERSION}`."""


def _graphs() -> list[str]:
    return sorted(
        path.stem
        for path in FOLDER.glob("*.yaml")
        if any(
            (doc or {}).get("kind") == "DynamoGraphDeployment" for doc in yaml.safe_load_all(path.read_text())
        )
    )


def _load(name: str) -> Graph:
    text = (FOLDER / f"{name}.yaml").read_text()
    resources = api.load_documents(text, name)
    dgd = next(
        item
        for item in resources
        if isinstance(item, v1alpha1.DynamoGraphDeployment | v1beta1.DynamoGraphDeployment)
    )
    converted, _ = api.to_v1beta1(dgd)
    assert isinstance(converted, v1beta1.DynamoGraphDeployment)
    extras = [doc for doc in yaml.safe_load_all(text) if doc and doc["kind"] == "ConfigMap"]
    return Graph(converted, tuple(extras), overridden=True)


def test_every_graph_is_in_the_table():
    assert _graphs() == sorted(READ)


@pytest.mark.parametrize("name", sorted(READ))
def test_commands_are_read(name):
    graph, (gpus, workers) = _load(name), READ[name]
    dgd = api.to_dict(graph.dgd)
    found = {view.name: view for view in views(dgd, graph.extras) if view.role is not None}
    assert gpu_count(graph) == gpus
    assert set(found) == set(workers)
    for worker, (module, role, model, parallelism, sequences, length) in workers.items():
        flags = found[worker].flags
        assert (flags.module, found[worker].role, flags.model) == (module, role, model)
        assert (flags.max_num_seqs, flags.max_model_len) == (sequences, length)
        assert flags.sized == (parallelism is not None)
        if parallelism is not None:
            assert flags.parallelism == parallelism


@pytest.mark.parametrize("name", sorted(READ))
def test_preflight_finds_nothing_but_what_is_wrong(name):
    problems = preflight(_load(name))
    if name in TEMPLATES:
        assert problems
        assert {problem.rule for problem in problems} == {"is not an image reference"}
        assert all("${VERSION}" in str(problem.value) for problem in problems)
    elif name == "examples_backends_trtllm_deploy_disagg_planner":
        # Its planner mounts a ConfigMap that the manifest leaves to another; that cannot be judged, and is not.
        assert problems == ()
    else:
        assert problems == (), "\n".join(map(str, problems))
