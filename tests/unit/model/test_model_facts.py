"""config.json to facts: known parameter totals, quantised sizes, layer kinds, and clear errors. RAPID-04, PROF-05."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.errors import InvalidInput
from armature.model.bundle import bundled_config, bundled_names
from armature.model.context import check_context
from armature.model.facts import ModelFacts, facts_from_config

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip


def facts(name: str) -> ModelFacts:
    found = bundled_config(name)
    assert found is not None, name
    return facts_from_config(name, found.config, found.quant_config, source=found.source)


# Totals as the model cards or the safetensors metadata state them; the tolerance covers norms and biases we leave out.
TOTALS = {
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-3.1-405B-Instruct": 405_853_388_800,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8_030_261_248,
    "meta-llama/Meta-Llama-3-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-chat-hf": 68_976_648_192,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/QwQ-32B": 32_763_876_352,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 7_615_616_512,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": 14_770_033_664,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": 32_763_876_352,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": 8_030_261_248,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": 70_553_706_496,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 30_532_122_624,
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-235B-A22B-Instruct-2507": 235_093_634_560,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": 79_700_000_000,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_241_732_096,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "mistralai/Mistral-Large-Instruct-2407": 122_610_069_504,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x22B-Instruct-v0.1": 140_630_071_296,
    "microsoft/phi-4": 14_659_507_200,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-mini-128k-instruct": 3_821_079_552,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/Phi-3-medium-128k-instruct": 13_960_238_080,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-2-27b-it": 27_227_128_320,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-27b-it": 27_432_406_640,
    "deepseek-ai/DeepSeek-V2-Lite-Chat": 15_706_484_224,
    "deepseek-ai/DeepSeek-V2-Chat": 235_741_434_880,
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
    "deepseek-ai/DeepSeek-R1": 671_026_419_200,
    "deepseek-ai/DeepSeek-R1-0528": 671_026_419_200,
    "deepseek-ai/DeepSeek-V3.1": 671_026_419_200,
    "openai/gpt-oss-20b": 20_910_000_000,
    "openai/gpt-oss-120b": 116_830_000_000,
    "zai-org/GLM-4.5": 355_000_000_000,
    "zai-org/GLM-4.5-Air": 106_850_000_000,
}
LOOSE = {"google/gemma-3-4b-it": 0.005, "google/gemma-3-12b-it": 0.002, "zai-org/GLM-4.5": 0.01}


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_parameters_are_counted_as_the_model_states_them(name):
    assert facts(name).params == pytest.approx(TOTALS[name], rel=LOOSE.get(name, 0.001))


def test_every_bundled_model_of_ours_has_a_known_total_or_is_a_variant_of_one():
    """A config of our own bundle that no total vouches for would be a guess."""
    known = {round(total / 1e9, 1) for total in TOTALS.values()}
    ours = Path(str(find_spec("armature.model").submodule_search_locations[0])) / "bundle" / "models.json"
    for name in json.loads(ours.read_text())["models"]:
        size = facts(name).params / 1e9
        assert any(abs(size - total) <= 0.01 * total + 0.05 for total in known), name


# As the model cards state them; an embedding lookup is not counted as active here, on some cards it is.
@pytest.mark.parametrize(
    ("name", "active_billions"),
    [
        ("Qwen/Qwen3-235B-A22B", 22), ("Qwen/Qwen3-30B-A3B", 3.3), ("mistralai/Mixtral-8x7B-Instruct-v0.1", 12.9),
        ("deepseek-ai/DeepSeek-V3", 37), ("openai/gpt-oss-120b", 5.13), ("openai/gpt-oss-20b", 3.61),
        ("moonshotai/Kimi-K2-Instruct", 32), ("deepseek-ai/DeepSeek-V2-Chat", 21), ("zai-org/GLM-4.5-Air", 12),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 17),
    ],
)  # fmt: skip
def test_active_parameters_of_experts(name, active_billions):
    assert facts(name).active_params / 1e9 == pytest.approx(active_billions, rel=0.1)


# Sizes of the published checkpoints in GB (sum of their safetensors files).
@pytest.mark.parametrize(
    ("name", "gigabytes", "within"),
    [
        ("Qwen/Qwen3-32B-FP8", 33, 0.05), ("Qwen/Qwen3-0.6B", 1.2, 0.25), ("openai/gpt-oss-120b", 65.2, 0.01),
        ("openai/gpt-oss-20b", 13.8, 0.01), ("moonshotai/Kimi-K2.5", 595, 0.01),
        ("Qwen/Qwen3-235B-A22B-FP8", 236, 0.01),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", 5.74, 0.01),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", 39.8, 0.01),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 72.7, 0.01), ("nvidia/Qwen3-235B-A22B-NVFP4", 134, 0.02),
        ("meta-llama/Llama-2-7b-chat-hf", 13.5, 0.01), ("meta-llama/Llama-2-13b-chat-hf", 26.0, 0.01),
    ],
)  # fmt: skip
def test_weights_are_as_large_as_the_checkpoint(name, gigabytes, within):
    """PN-04; RAPID: an FP8 checkpoint is not sized as bf16."""
    assert facts(name).weight_bytes / 1e9 == pytest.approx(gigabytes, rel=within)


@pytest.mark.parametrize(
    ("name", "linear", "experts", "kv"),
    [
        ("Qwen/Qwen3-32B-FP8", "fp8", "bf16", "bf16"), ("openai/gpt-oss-120b", "bf16", "fp4", "bf16"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8", "bf16", "fp8"), ("moonshotai/Kimi-K2.5", "bf16", "int4", "bf16"),
        ("nvidia/GLM-5-NVFP4", "bf16", "fp4", "fp8"), ("nvidia/Kimi-K2.5-NVFP4", "bf16", "fp4", "fp8"),
        ("deepseek-ai/DeepSeek-V4-Flash", "fp8", "fp4", "bf16"), ("nvidia/MiniMax-M3-NVFP4", "fp8", "fp4", "bf16"),
        ("nvidia/Gemma-4-26B-A4B-NVFP4", "bf16", "fp4", "fp8"), ("deepseek-ai/DeepSeek-R1", "fp8", "fp8", "bf16"),
        ("nvidia/Qwen3.6-27B-NVFP4", "fp4", "bf16", "fp8"), ("nvidia/Llama-3.1-70B-Instruct-FP8", "fp8", "bf16", "fp8"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "int4", "bf16", "bf16"),
    ],
)  # fmt: skip
def test_formats_by_part(name, linear, experts, kv):
    q = facts(name).quantisation
    assert (q.linear, q.experts, q.other, q.kv) == (linear, experts, "bf16", kv)


@pytest.mark.parametrize(
    ("config", "dtype", "bits"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 4.156),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int8", 8.1875),
        ({"quant_method": "awq", "bits": 4, "group_size": 32}, "int4", 4.625),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4", 4.5),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8.0),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8.002),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 8.0),
        ({"quant_algo": "NVFP4", "quant_method": "modelopt"}, "fp4", 4.5),
        ({"quant_algo": "W4A8_AWQ", "group_size": 128}, "int4", 4.125),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8", 8.0),
    ],
)
def test_bits_per_weight_include_scales(config, dtype, bits):
    f = facts_from_config("m", {**LLAMA_8B, "quantization_config": config}, None, source="test")
    assert f.quantisation.linear == dtype
    assert f.parts is not None
    assert 8 * f.parts.linear / f.linear_params == pytest.approx(bits, rel=1e-3)


def test_excluded_modules_keep_bf16():
    quant = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head", "model.layers.1*"]}}
    f = facts_from_config("m", LLAMA_8B, quant, source="test")
    assert f.parts is not None
    assert f.parts.linear == pytest.approx(
        f.linear_params * (31 * 1 + 1 * 2) / 32, rel=1e-6
    )  # layer 1, not 10 to 19


def test_an_unknown_quantisation_is_counted_as_bf16_and_said():
    f = facts_from_config(
        "m", {**LLAMA_8B, "quantization_config": {"quant_method": "foo"}}, None, source="test"
    )
    assert f.weight_bytes == pytest.approx(2 * f.params, rel=1e-6)
    assert any("foo" in note for note in f.notes)


@pytest.mark.parametrize(
    ("name", "full", "window", "linear"),
    [
        ("google/gemma-2-9b-it", 21, 21, 0), ("google/gemma-3-27b-it", 10, 52, 0), ("openai/gpt-oss-120b", 18, 18, 0),
        ("Qwen/Qwen3.5-122B-A10B", 12, 0, 36), ("nvidia/Nemotron-H-56B-Base-8K", 10, 0, 54),
        ("XiaomiMiMo/MiMo-V2-Flash", 9, 39, 0), ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 12, 36, 0),
        ("mistralai/Mistral-7B-Instruct-v0.3", 32, 0, 0), ("microsoft/Phi-3-mini-4k-instruct", 0, 32, 0),
        ("microsoft/Phi-3-mini-128k-instruct", 32, 0, 0), ("google/gemma-4-26B-A4B", 5, 25, 0),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 12, 0, 36), ("moonshotai/Kimi-K3", 24, 0, 69),
    ],
)  # fmt: skip
def test_layer_kinds(name, full, window, linear):
    a = facts(name).attention
    assert (a.full_layers, a.window_layers, a.linear_layers) == (full, window, linear)


@pytest.mark.parametrize(
    ("name", "layers", "shared", "kind"),
    [
        ("deepseek-ai/DeepSeek-V3", 58, 2048, "mla"), ("mistralai/Mixtral-8x7B-Instruct-v0.1", 32, 0, "gqa"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 24, 8192, "gqa"), ("zai-org/GLM-4.5", 89, 1536, "gqa"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 23, 3712, "gqa"),
        ("moonshotai/Kimi-K2-Instruct", 60, 2048, "mla"),
    ],
)  # fmt: skip
def test_expert_layers(name, layers, shared, kind):
    f = facts(name)
    assert f.moe is not None
    assert (f.moe.layers, f.moe.shared_intermediate, f.attention.kind) == (layers, shared, kind)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("deepseek-ai/DeepSeek-V3", 163_840), ("moonshotai/Kimi-K2.5", 262_144), ("openai/gpt-oss-120b", 131_072),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072), ("google/gemma-3-27b-it", 131_072), ("Qwen/Qwen3-8B", 40_960),
    ],
)  # fmt: skip
def test_context_limit(name, tokens):
    assert facts(name).max_context == tokens


@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131_072),
        ({"type": "linear", "factor": 2.0}, 65_536),
        ({"rope_type": "llama3", "factor": 8.0}, 32_768),
        ({"type": "yarn", "factor": float("inf")}, 32_768),
        ({"type": "yarn", "factor": "4"}, 32_768),
        (None, 32_768),
    ],
)
def test_declared_rope_scaling_lengthens_the_context_as_engines_do(scaling, tokens):
    config = {**LLAMA_8B, "max_position_embeddings": 32768, "rope_scaling": scaling}
    assert facts_from_config("m", config, None, source="test").max_context == tokens


def test_a_workload_past_the_context_is_a_problem():
    f = facts("Qwen/Qwen3-8B")
    assert check_context(f, 40_000, 960) is None
    problem = check_context(f, 40_000, 961)
    assert problem is not None
    assert "40961 tokens" in problem.rule
    assert "40960" in problem.mend


def _library_configs() -> list[str]:
    spec = find_spec("aiconfigurator_core")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    files = (p for root in roots for p in Path(root, "model_configs").glob("*_config.json"))
    return sorted(
        p.name[:-12].replace("--", "/", 1) for p in files if not p.name.endswith("_hf_quant_config.json")
    )


@pytest.mark.skipif(not _library_configs(), reason="the estimator library has no wheel for this machine")
def test_the_library_bundle_is_read_whole():
    assert len(_library_configs()) >= 85
    assert set(_library_configs()) <= set(bundled_names())


# The name states the total; 17B of Llama 4 is the active part.
@pytest.mark.parametrize("name", _library_configs())
def test_every_config_of_the_library_loads_with_the_size_its_name_states(name):
    f = facts(name)
    assert f.params > 0
    assert 0 < f.active_params <= f.params
    assert 0.5 * f.params <= f.weight_bytes <= 2.01 * f.params
    assert f.parts is not None
    assert f.parts.total == f.weight_bytes
    assert f.max_context >= 8192
    a = f.attention
    assert 0 < a.full_layers + a.window_layers + a.linear_layers <= f.layers
    embedding = f.vocab * f.hidden
    total = re.search(r"-(\d+(?:\.\d+)?)B(?:-|$)", name)
    if total and "Llama-4" not in name:
        assert f.params / 1e9 == pytest.approx(
            float(total[1]), rel=0.12 if "-VL-" in name else 0.1
        )  # vision tower
    active = re.search(r"-A(\d+(?:\.\d+)?)B", name)
    if active:
        stated = float(active[1])
        nearest = min((f.active_params, f.active_params + embedding), key=lambda n: abs(n / 1e9 - stated))
        assert nearest / 1e9 == pytest.approx(stated, rel=0.15)
    if "Llama-4" in name:
        assert (f.active_params + embedding) / 1e9 == pytest.approx(17, rel=0.1)


def test_missing_keys_are_all_named_at_once():
    with pytest.raises(InvalidInput) as caught:
        facts_from_config(
            "m", {"architectures": ["X"], "num_hidden_layers": -3, "vocab_size": "many"}, None, source="t"
        )
    paths = {problem.path for problem in caught.value.problems}
    assert {
        "hidden_size",
        "num_attention_heads",
        "num_hidden_layers",
        "vocab_size",
        "intermediate_size",
    } <= paths


def test_an_unknown_architecture_with_the_usual_keys_is_a_plain_decoder():
    config = {**LLAMA_8B, "architectures": ["BrandNewForCausalLM"], "model_type": "brand_new"}
    f = facts_from_config("m", config, None, source="test")
    assert f.architecture == "BrandNewForCausalLM"
    assert f.params == pytest.approx(8_030_261_248, rel=1e-6)


def test_gpt2_names_work():
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25,
              "vocab_size": 50257, "n_positions": 1024, "tie_word_embeddings": True}  # fmt: skip
    f = facts_from_config("gpt2-xl", config, None, source="test")
    assert f.params == pytest.approx(1.557e9, rel=0.005)
    assert f.max_context == 1024


def test_an_encoder_decoder_is_refused():
    with pytest.raises(InvalidInput, match="encoder-decoder"):
        facts_from_config("t5", {"is_encoder_decoder": True, "model_type": "t5"}, None, source="test")


_JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10**12), st.floats(), st.text(max_size=4),
    st.lists(st.integers(-1, 4), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
_KEYS = [
    *LLAMA_8B, "num_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", "kv_lora_rank",
    "q_lora_rank", "sliding_window", "layer_types", "compress_ratios", "block_configs", "hybrid_override_pattern",
    "layers_block_type", "rope_scaling", "quantization_config", "text_config", "vision_config", "head_dim",
    "v_head_dim",
    "linear_num_value_heads", "linear_attn_config", "moe_layer_freq", "first_k_dense_replace", "enable_moe_block",
    "sparse_attention_config", "index_n_heads", "attn_type_list", "hidden_size_per_layer_input", "swa_head_dim",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYS), _JUNK, max_size=6))
def test_any_config_gives_facts_or_one_clear_error(changes):
    """Nothing but InvalidInput leaves the reader, and no number is negative."""
    try:
        f = facts_from_config("m", {**LLAMA_8B, "num_hidden_layers": 4, **changes}, None, source="test")
    except InvalidInput:
        return
    assert f.params > 0
    assert f.weight_bytes > 0
    assert f.max_context > 0
    assert f.linear_params >= 0
    assert f.expert_params >= 0
