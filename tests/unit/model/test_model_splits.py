"""What a model's shape allows (ENUM-06), on shapes that engines are known to refuse."""

from __future__ import annotations

import pytest

from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.model.splits import splits


@pytest.mark.parametrize(
    ("model", "parallelism", "allowed"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", Parallelism(tp=4), True),
        ("Qwen/Qwen2.5-7B-Instruct", Parallelism(tp=8), False),  # 28 heads
        ("Qwen/Qwen3-30B-A3B", Parallelism(tp=8, moe_tp=8), True),  # bf16: 768 / 8 columns
        ("Qwen/Qwen3-30B-A3B-FP8", Parallelism(tp=8, moe_tp=8), False),  # fp8: 96 is no whole block
        ("Qwen/Qwen3-30B-A3B-FP8", Parallelism(tp=8, moe_ep=8), True),
        ("deepseek-ai/DeepSeek-R1", Parallelism(tp=16, moe_ep=16), True),
        (
            "deepseek-ai/DeepSeek-R1",
            Parallelism(tp=32, moe_ep=32),
            False,
        ),  # dense MLP: 18432 / 32 = 4.5 blocks
        ("deepseek-ai/DeepSeek-R1", Parallelism(dp=32, moe_ep=32), True),
        ("Qwen/Qwen3-8B", Parallelism(moe_ep=2), False),  # no experts
        ("Qwen/Qwen3-8B", Parallelism(pp=64), False),  # 36 layers
    ],
)
def test_known_shapes(model, parallelism, allowed):
    assert splits(resolve_model(model, offline=True), parallelism) is allowed
