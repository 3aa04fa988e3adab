"""How experts' tokens travel: priced by the tables of what the engine will be told to do (issue 4 §4, §6)."""

from __future__ import annotations

import numpy as np
import pytest

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.calibration import calibrated
from armature.perf.estimate import EngineSpec, moe_a2a
from armature.perf.silicon import NoSiliconData, SiliconEstimator, library
from armature.perf.silicon.exchange import COLLECTIVES, every, usual
from armature.perf.silicon.raw import raw_steps
from armature.perf.speculative import Speculation, SpeculativeTimes

pytest.importorskip("aiconfigurator_core")

R1 = "deepseek-ai/DeepSeek-R1"


@pytest.fixture
def spec(facts):
    def made(backend="sglang", sku="h200_sxm", model=R1, **degrees):
        return EngineSpec(facts(model), GPUS[sku], backend, Parallelism(**degrees), "bf16")

    return made


def ways(found):
    return [way.context for way in found]


@pytest.mark.parametrize(
    ("backend", "sku", "degrees", "first"),
    [
        ("sglang", "h200_sxm", {"dp": 8, "moe_ep": 8}, "deepep_ht"),
        ("sglang", "h200_sxm", {"tp": 8, "moe_ep": 8}, ""),  # one rank of attention: nothing to exchange
        ("sglang", "h200_sxm", {"dp": 8, "moe_tp": 2, "moe_ep": 4}, ""),  # experts that are split too
        ("trtllm", "gb200", {"dp": 8, "moe_ep": 8}, "nvlink_two_sided"),
        ("trtllm", "gb200", {"dp": 4, "moe_ep": 4}, ""),
        ("vllm", "h200_sxm", {"dp": 16, "moe_ep": 16}, ""),
    ],
)
def test_an_engine_is_priced_as_it_is_started(spec, backend, sku, degrees, first):
    found = usual(spec(backend, sku, **degrees))
    assert found[0].context == first
    assert found[-1] == COLLECTIVES


def test_dense_models_exchange_nothing(spec):
    assert (
        usual(spec(model="Qwen/Qwen3-32B", tp=2))
        == every(spec(model="Qwen/Qwen3-32B", tp=2))
        == (COLLECTIVES,)
    )


def test_the_librarys_own_search_refuses_collectives_between_nodes(spec):
    assert ways(every(spec(dp=8, moe_ep=8))) == ["deepep_ht", ""]
    assert ways(every(spec(dp=16, moe_ep=16))) == ["deepep_ht"]
    assert ways(every(spec("trtllm", tp=16, moe_ep=16))) == []
    with pytest.raises(NoSiliconData, match="between nodes"):
        raw_steps(spec("trtllm", tp=16, moe_ep=16))


def test_wide_expert_parallelism_of_sglang_is_priced_with_deepep(spec):
    """Over two nodes of H200, where collectives carry every token to every rank."""
    asked = spec(dp=16, moe_ep=16)
    times = SiliconEstimator().engine(asked)
    assert moe_a2a(times) == "deepep"
    with library.quiet():
        handle = library.compile_handle(asked, kvcache_quant_mode="bfloat16", fmha_quant_mode="bfloat16")[0]
    assert float(times.prefill_ms(4096)) < 0.5 * handle.prefill_ms(4096)
    assert float(times.decode_ms(64, 4096)) < 0.6 * handle.decode_ms(64, 4096)


def test_a_layout_without_tables_of_it_keeps_the_engines_default(spec):
    times = SiliconEstimator().engine(
        spec(sku="gb200", dp=8, moe_ep=8)
    )  # compute tables lack eight ranks there
    assert moe_a2a(times) == ""


def test_steps_of_fewer_tokens_than_ranks_of_attention_have_an_answer(spec):
    """A rank sends its share of the tokens, and of three tokens a fourth rank's would be none."""
    times = SiliconEstimator().engine(spec(tp=4, dp=2, moe_ep=8))
    assert moe_a2a(times) == "deepep"
    few = times.prefill_ms(np.arange(1, 5))
    assert np.isfinite(few).all()
    assert (few > 0).all()


def test_what_wraps_step_times_keeps_what_the_engine_is_told(spec):
    asked = spec(dp=8, moe_ep=8)
    times = calibrated(SiliconEstimator().engine(asked), asked)
    assert moe_a2a(times) == "deepep"
    assert moe_a2a(SpeculativeTimes(times, asked, Speculation(1, 0.8))) == "deepep"
