"""The checkpoint behind a row: bundled facts, or a bundled model quantised the way the row says."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from armature.model.bundle import bundled_config
from armature.model.facts import ModelFacts
from armature.model.read import facts_from_directory
from armature.model.resolve import resolve_model

__all__ = ["facts_of"]

# (family, dtype of the weights) -> bundled name, or a bundled name and what to do with its weights.
CHECKPOINTS: dict[tuple[str, str], tuple[str, str]] = {
    ("DeepSeek-R1", "fp8"): ("deepseek-ai/DeepSeek-R1", ""),
    ("DeepSeek-R1", "fp4"): ("nvidia/DeepSeek-V3.1-NVFP4", ""),
    ("GLM-5", "fp8"): ("zai-org/GLM-5-FP8", ""),
    ("GLM-5", "fp4"): ("nvidia/GLM-5-NVFP4", ""),
    ("Kimi-K2.5", "int4"): ("moonshotai/Kimi-K2.5", ""),
    ("Kimi-K2.5", "fp4"): ("nvidia/Kimi-K2.5-NVFP4", ""),
    ("Llama-3.1-70B", "bf16"): ("meta-llama/Meta-Llama-3.1-70B", ""),
    ("Llama-3.1-70B", "fp8"): ("nvidia/Llama-3.1-70B-Instruct-FP8", ""),
    ("Llama-3.1-70B", "fp4"): ("meta-llama/Meta-Llama-3.1-70B", "NVFP4"),
    ("Llama-3.1-8B", "bf16"): ("meta-llama/Meta-Llama-3.1-8B", ""),
    ("Llama-3.1-8B", "fp8"): ("meta-llama/Meta-Llama-3.1-8B", "FP8"),
    ("Llama-3.1-8B", "fp8_block"): ("meta-llama/Meta-Llama-3.1-8B", "BLOCK"),
    ("MiniMax-M2.5", "fp8"): ("MiniMaxAI/MiniMax-M2.5", ""),
    ("MiniMax-M2.5", "fp4"): ("nvidia/MiniMax-M2.5-NVFP4", ""),
    ("Qwen3-235B-A22B", "fp8"): ("Qwen/Qwen3-235B-A22B-FP8", ""),
    ("Qwen3-32B", "bf16"): ("Qwen/Qwen3-32B", ""),
    ("Qwen3-32B", "fp8"): ("Qwen/Qwen3-32B-FP8-Static-PerTensor", ""),
    ("Qwen3-32B", "fp8_block"): ("Qwen/Qwen3-32B-FP8", ""),
    ("Qwen3-32B", "fp4"): ("Qwen/Qwen3-32B", "NVFP4"),
    ("Qwen3.5-397B-A17B", "bf16"): ("Qwen/Qwen3.5-397B-A17B", ""),
    ("Qwen3.5-397B-A17B", "fp8"): ("Qwen/Qwen3.5-397B-A17B", "BLOCK"),
    ("Qwen3.5-397B-A17B", "fp4"): ("nvidia/Qwen3.5-397B-A17B-NVFP4", ""),
    ("gpt-oss-120b", "fp4"): ("openai/gpt-oss-120b", ""),
    ("gpt-oss-120b", "fp8"): ("openai/gpt-oss-120b", ""),
}
BLOCK = {
    "quant_method": "fp8",
    "fmt": "e4m3",
    "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
}


@cache
def facts_of(family: str, precision: str, gemm: str) -> ModelFacts | None:
    """Facts of a row's checkpoint; None when no bundled model stands for it."""
    dtype = precision or "bf16"
    if family in ("Qwen3-32B", "Llama-3.1-8B") and gemm == "fp8_block":
        dtype = "fp8_block"
    found = CHECKPOINTS.get((family, dtype))
    if found is None:
        return None
    name, scheme = found
    return (
        _quantised(name, scheme)
        if scheme
        else resolve_model(name, offline=True, env={"HOME": "/nonexistent"})
    )


def _quantised(name: str, scheme: str) -> ModelFacts:
    bundled = bundled_config(name)
    assert bundled is not None
    folder = Path(_workspace().name) / f"{name.split('/')[-1]}-{scheme}"
    folder.mkdir(exist_ok=True)
    config = dict(bundled.config)
    if scheme == "BLOCK":
        config["quantization_config"] = BLOCK
    else:
        quant = {
            "quantization": {
                "quant_algo": scheme,
                "kv_cache_quant_algo": "FP8",
                "exclude_modules": ["lm_head"],
            }
        }
        if scheme == "NVFP4":
            quant["quantization"]["group_size"] = 16  # type: ignore[assignment]
        (folder / "hf_quant_config.json").write_text(json.dumps(quant), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return facts_from_directory(f"{name}-{scheme}", folder, source="benchmark")


@cache
def _workspace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="armature-accuracy-")
