"""The public names of the room, and the worked examples of the field's documents (DGDR-23)."""

from __future__ import annotations

import pytest

import armature.api as api

EXAMPLES = {
    "llama-70b": """
  model: meta-llama/Llama-3.1-70B-Instruct
  backend: vllm
  searchStrategy: rapid
  autoApply: false
  modelCache:
    pvcName: model-cache
    pvcMountPath: /home/dynamo/.cache/huggingface
    pvcModelPath: hub/models--meta-llama--Llama-3.1-70B-Instruct/snapshots/0123456789abcdef
  sla: {ttft: 500, itl: 50}
  workload: {isl: 4000, osl: 1000, requestRate: 10}
  features: {planner: {enabled: true}}
""",
    "deepseek-r1": """
  model: deepseek-ai/DeepSeek-R1
  backend: sglang
  searchStrategy: thorough
  autoApply: false
  modelCache: {pvcName: model-cache, pvcModelPath: hub/models--deepseek-ai--DeepSeek-R1/snapshots/0123456789abcdef}
  sla: {ttft: 2000, itl: 100}
  hardware: {totalGpus: 32}
  features: {planner: {enabled: true}}
  overrides:
    profilingJob:
      template:
        spec:
          containers: []
          tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
""",
    "qwen3-sglang": """
  model: Qwen/Qwen3-30B-A3B
  backend: sglang
  image: "nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.1.1"
  overrides:
    dgd:
      apiVersion: nvidia.com/v1alpha1
      kind: DynamoGraphDeployment
      spec:
        envs: [{name: TRITON_PTXAS_PATH, value: /usr/local/cuda/bin/ptxas}]
""",
    "qwen3-quickstart": "\n  model: Qwen/Qwen3-0.6B\n  backend: auto\n",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_examples_load_without_a_word(name):
    """DGDR-13, DGDR-15, DGDR-16, DGDR-23: no problem, no warning, and writing them back changes nothing."""
    head = f"apiVersion: nvidia.com/v1beta1\nkind: DynamoGraphDeploymentRequest\nmetadata:\n  name: {name}\nspec:"
    (request,) = api.load_documents(head + EXAMPLES[name], "example")
    assert api.warnings_of(request) == ()
    assert api.load_documents(api.to_yaml(request), "again") == [request]
    assert api.default_request(request) == api.default_request(api.default_request(request))


def test_the_public_surface_is_what_it_says():
    assert sorted(api.__all__) == sorted(set(api.__all__))
    assert all(hasattr(api, name) for name in api.__all__)
    documented = {
        "load_documents", "load_file", "load_one", "check", "parse_tolerant", "to_dict", "to_yaml",
        "to_yaml_documents", "to_v1beta1", "default_request", "validate", "warnings_of", "planner_enabled",
        "planner_settings", "sku_hint", "SKUS", "Resource", "Foreign", "Metadata", "DynamoModel",
        "DynamoCheckpoint", "v1alpha1", "v1beta1", "convert_object", "convert_review",
    }  # fmt: skip
    assert set(api.__all__) == documented
