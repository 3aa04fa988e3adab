"""Against the real library, with no stand-in: it needs no GPU and no network."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.hardware.catalog import GPUS
from armature.hardware.products import gpu_for_product
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.silicon import NoSiliconData, SiliconEstimator, StepCache, supported
from armature.perf.silicon import estimator as silicon_estimator
from armature.perf.silicon.disk import Disk

pytest.importorskip("aiconfigurator_core")

H200 = GPUS["h200_sxm"]
TP2 = Parallelism(tp=2)
QUANTISED, PLAIN = "Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B"
BATCHES = np.array([1, 2, 3, 4, 8, 13, 16, 32, 64, 100, 128, 256, 400])


@pytest.fixture(scope="module")
def estimator():
    return SiliconEstimator()


@pytest.fixture
def spec(facts):
    def make(model=QUANTISED, gpu=H200, backend="vllm", parallelism=TP2, kv_dtype="fp8"):
        return EngineSpec(facts(model), gpu, backend, parallelism, kv_dtype)

    return make


def library_engine(model, parallelism=None, **modes):
    from aiconfigurator_core.sdk.engine import EngineHandle

    p = parallelism or Parallelism(tp=2)
    degrees = {"tp_size": p.tp, "pp_size": p.pp, "attention_dp_size": p.dp}
    experts = {"moe_tp_size": p.moe_tp, "moe_ep_size": p.moe_ep}
    return EngineHandle.compile(model, "h200_sxm", "vllm", **degrees, **experts, **modes)


@pytest.mark.parametrize("kv_dtype", ["bf16", "fp8"])
def test_golden_qwen3_32b_fp8_on_h200_decodes_in_7_to_11_ms(estimator, spec, kv_dtype):
    times = estimator.engine(spec(kv_dtype=kv_dtype))
    raw = library_engine(QUANTISED).decode_step_latency(1, 4000, 2)
    assert raw > 19, "the library's table is mended at last: this guard can be reviewed"
    assert 7 <= float(times.decode_ms(1, 4000)) <= 11
    assert times.source == "silicon"
    assert any("slower in fp8 than in bf16" in note for note in times.notes)


def test_fp8_is_never_slower_than_bf16_in_decode_or_prefill(estimator, spec):
    quantised, plain = estimator.engine(spec(kv_dtype="bf16")), estimator.engine(spec(PLAIN, kv_dtype="bf16"))
    for context in (1000, 4000, 16000):
        assert (quantised.decode_ms(BATCHES, context) <= 1.001 * plain.decode_ms(BATCHES, context)).all()
    tokens = np.array([1, 16, 128, 512, 1024, 4000, 16000])
    assert (quantised.prefill_ms(tokens) <= 1.001 * plain.prefill_ms(tokens)).all()
    assert float(quantised.prefill_ms(4000)) == pytest.approx(163, rel=0.03)  # sound in the table, left alone
    assert float(quantised.mixed_ms(512, 0, 0)) < 30  # 40 in the table


def test_a_sound_bf16_table_gets_no_note_about_quantisation(estimator, spec):
    assert not any("slower" in note for note in estimator.engine(spec(PLAIN, kv_dtype="bf16")).notes)


def test_batched_prompts_and_mixed_steps_agree_with_the_library_on_dense_models(estimator, spec):
    times = estimator.engine(spec(PLAIN, kv_dtype="bf16"))
    raw = library_engine(PLAIN, kvcache_quant_mode="bfloat16")
    for prompts, isl in ((2, 1024), (4, 512), (2, 4096), (8, 128)):
        assert float(times.prefill_ms(isl, prompts)) == pytest.approx(
            raw.predict_prefill_latency(prompts, isl), rel=0.03
        )
    for chunk, batch in ((512, 8), (1024, 32), (2048, 64), (2048, 256)):
        theirs = raw.mixed_step_latency(chunk, batch, chunk, 2)
        assert float(times.mixed_ms(chunk, batch, chunk)) == pytest.approx(theirs, rel=0.08)
    for chunk, prior in ((512, 4096), (2048, 16384)):
        theirs = raw.predict_prefill_latency(1, chunk + prior, prior)
        assert float(times.prefill_ms(chunk, 1, prior)) == pytest.approx(theirs, rel=0.02)


def test_pipeline_stages_are_a_whole_pipeline_latency(estimator, spec):
    one = estimator.engine(spec(PLAIN, parallelism=Parallelism(tp=2)))
    two = estimator.engine(spec(PLAIN, parallelism=Parallelism(tp=2, pp=2)))
    ratio = two.decode_ms(BATCHES, 4000) / one.decode_ms(BATCHES, 4000)
    assert ((ratio >= 1) & (ratio < 1.02)).all()


def test_batches_are_per_attention_dp_rank(estimator, spec):
    """What contexts add for a batch on each of 4 ranks is what they add on one GPU alone, not a quarter."""
    single = spec("Qwen/Qwen3-30B-A3B", parallelism=Parallelism())
    ranks = spec("Qwen/Qwen3-30B-A3B", parallelism=Parallelism(dp=4, moe_ep=4))
    added = [
        float(times.decode_ms(32, 16000) - times.decode_ms(32, 1000))
        for times in (estimator.engine(single), estimator.engine(ranks))
    ]
    assert added[1] == pytest.approx(added[0], rel=0.05)


def test_a_mixed_step_of_an_mla_model_pays_for_its_contexts(estimator, spec):
    """The library's own mixed step is the same at any context for MLA."""
    times = estimator.engine(spec("deepseek-ai/DeepSeek-R1", parallelism=Parallelism(tp=8, moe_ep=8)))
    added = float(times.mixed_ms(512, 64, 16000) - times.mixed_ms(512, 64, 1000))
    assert added == pytest.approx(float(times.decode_ms(64, 16000) - times.decode_ms(64, 1000)), rel=0.05)
    assert added > 0


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.floats(1, 5000), st.floats(1, 5000)),
    st.tuples(st.floats(1, 3e6), st.floats(1, 3e6)),
    st.floats(0, 3e5),
)
def test_times_never_fall_and_are_finite(estimator_module, batches, contexts, tokens):
    times = estimator_module
    (b0, b1), (c0, c1) = sorted(batches), sorted(contexts)
    for low, high in (
        (times.decode_ms(b0, c0), times.decode_ms(b1, c1)),
        (times.mixed_ms(tokens, b0, c0), times.mixed_ms(tokens, b1, c1)),
        (times.prefill_ms(b0, 1, c0), times.prefill_ms(b1, 1, c1)),
    ):
        assert np.isfinite([low, high]).all()
        assert 0 < float(low) <= float(high) * (1 + 1e-9)


@pytest.fixture(scope="module")
def estimator_module(estimator, facts):
    return estimator.engine(EngineSpec(facts(QUANTISED), H200, "vllm", Parallelism(tp=2), "fp8"))


def test_a100_and_l40s_are_labelled_estimated_with_wider_bands(estimator, spec):
    hopper = estimator.engine(spec("Qwen/Qwen3-8B", parallelism=Parallelism(), kv_dtype="bf16"))
    for sku in ("a100_sxm", "l40s"):
        times = estimator.engine(spec("Qwen/Qwen3-8B", GPUS[sku], parallelism=Parallelism(), kv_dtype="bf16"))
        assert times.source == "estimated"
        assert times.decode_band.high > hopper.decode_band.high
        assert times.decode_band.low < hopper.decode_band.low


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"gpu": GPUS["t4"]}, "no measured tables for t4"),
        ({"gpu": GPUS["h100_pcie"]}, "no measured tables for h100_pcie"),
        ({"gpu": GPUS["a100_sxm"]}, "fp8"),
        ({"parallelism": Parallelism(tp=3)}, ""),
    ],
)
def test_what_the_tables_do_not_cover_is_one_kind_of_error_with_its_cause(estimator, spec, change, cause):
    for _ in range(2):  # the second time from the cache
        with pytest.raises(NoSiliconData) as refused:
            estimator.engine(spec(**change))
        assert cause in str(refused.value)
        assert "/" not in str(refused.value).replace("fp8/", "")


def test_a_model_that_is_not_at_hand_is_refused_without_the_network(estimator, spec, facts, monkeypatch):
    from dataclasses import replace

    def no_network(*_):
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    unknown = replace(facts(PLAIN), name="nobody/has-this", config_dir=None)
    with pytest.raises(NoSiliconData, match=r"no config\.json of nobody/has-this"):
        estimator.engine(replace(spec(), facts=unknown))


def test_a_llama_shaped_architecture_is_priced_from_its_directory(estimator, facts, tmp_path):
    from dataclasses import replace

    llama = facts("meta-llama/Meta-Llama-3.1-8B")
    config = {
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "model_type": "mistral",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "torch_dtype": "bfloat16",
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    mistral = replace(llama, name="acme/mistral", architecture="MistralForCausalLM", config_dir=tmp_path)
    ours = estimator.engine(EngineSpec(mistral, H200, "vllm", Parallelism(), "bf16"))
    theirs = estimator.engine(EngineSpec(llama, H200, "vllm", Parallelism(), "bf16"))
    assert ours.decode_ms(BATCHES, 4000) == pytest.approx(theirs.decode_ms(BATCHES, 4000))
    assert any("MistralForCausalLM is priced as a Llama" in note for note in ours.notes)


def test_the_library_writes_nothing_to_the_users_log(spec, caplog):
    logger = logging.getLogger("aiconfigurator_core")
    before = (logger.propagate, list(logger.handlers), logger.level)
    with caplog.at_level(logging.DEBUG):
        SiliconEstimator().engine(spec("deepseek-ai/DeepSeek-R1", parallelism=Parallelism(tp=8, moe_ep=8)))
    assert not [record for record in caplog.records if record.name.startswith("aiconfigurator")]
    assert (logger.propagate, list(logger.handlers), logger.level) == before


def test_support_says_why(facts):
    assert supported(facts(QUANTISED), H200, "vllm")[0]
    covered, why = supported(facts(QUANTISED), GPUS["t4"], "vllm")
    assert not covered
    assert "t4" in why


def test_what_support_asks_is_kept_for_the_next_search(facts, tmp_path, monkeypatch):
    kept = StepCache(Disk(tmp_path), {})
    for model in (QUANTISED, "moonshotai/Kimi-K2-Instruct"):
        expected = supported(facts(model), H200, "vllm", SiliconEstimator(kept))
        with monkeypatch.context() as patched:
            patched.setattr(silicon_estimator, "measured", lambda *_: pytest.fail("asked again"))
            assert supported(facts(model), H200, "vllm", SiliconEstimator(kept)) == expected


def test_importing_perf_loads_neither_the_library_nor_pandas():
    code = (
        "import armature.perf.choose, armature.perf.steptable, sys;"
        "armature.perf.choose.estimator_for();"
        "sys.exit(any(name in sys.modules for name in ('aiconfigurator_core', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("product", ["NVIDIA-H200-MIG-1g.18gb", "NVIDIA A100-SXM4-40GB", "Some Unknown GPU"])
def test_tables_of_the_whole_gpu_do_not_price_another_part(estimator, spec, product):
    """A MIG slice keeps its donor's SKU; the donor's step times are not its own."""
    part = gpu_for_product(product, 40 * 2**30)
    with pytest.raises(NoSiliconData):
        estimator.engine(spec(model="Qwen/Qwen3-8B", gpu=part, kv_dtype="bf16"))
