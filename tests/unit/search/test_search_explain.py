"""What the reasons say agrees with the rule that chose: held on whole profiles of the formula estimator."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from search_ask import ask, question, request_for
from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.hardware.catalog import GPUS
from armature.search.binding import Binding
from armature.search.explain import difference, layout_text, miss, reasons
from armature.search.profile import Margin, Profile
from armature.search.rapid import profile, profile_of


def plan(*pools, facts=None, workload=None, sla=None) -> Profile:
    return profile(
        request_for(workload={"isl": 2000, "osl": 200, **(workload or {})}, sla=sla or {}),
        inventory(*(pools or (pool(),))),
        facts or dense_facts(),
        FormulaEstimator(),
    )


def reason(found: Profile, start: str) -> str:
    return next(text for text in found.reasons if text.startswith(start))


def test_when_nothing_meets_the_sla_the_others_lose_by_how_far_they_miss():
    found = plan(sla={"ttft": 20, "itl": 3})
    assert not found.picked.meets_sla
    pick, other = found.picked, next(c for c in found.candidates if c.mode != found.picked.mode)
    miss, worse = (max(m.ratio for m in c.margins) for c in (pick, other))
    assert worse > 1.01 * miss, "the case must be clear cut"
    assert any(f"misses by {worse:.2f} x" in text for text in found.reasons)


def test_a_near_miss_shows_that_it_is_one():
    """40.4 ms of 40 ms is not `40 of 40 ms`."""
    found = plan()
    margin = Margin("itl_ms", 40.0, 40.4, 1.01, False)
    missed = structs.replace(found.candidate(found.runner_up), meets_sla=False, margins=(margin,))
    said = reasons(found.picked, missed, None, question(sla={"itl_ms": 40.0}), Binding("none"))
    assert said[-1].endswith("misses the SLA (ITL 40.4 of 40.0 ms).")


@pytest.mark.parametrize(("gpus", "said"), [(1, "from 1 GPU:"), (2, "from 2 GPUs:")])
def test_one_gpu_is_singular(gpus, said):
    assert said in plan(pool(gpus)).reasons[0]


def test_a_layout_on_another_sku_is_told_apart():
    found = plan(pool(8, sku="h100_sxm"), pool(4, 4, sku="h200_sxm"), workload={"requestRate": 2})
    own = found.picked.groups[0].sku
    other = next(c for c in found.candidates if c.mode == "agg" and c.groups[0].sku != own)
    both = next(c for c in found.candidates if len({group.sku for group in c.groups}) == 2)
    assert layout_text(found.picked, found.picked).endswith(f"tp{found.picked.groups[0].tp}")
    assert layout_text(other, found.picked).endswith(f" on {other.groups[0].sku}")
    prefill, decode = both.groups
    assert f"×tp{prefill.tp} on {prefill.sku}, decode " in layout_text(both, found.picked)
    assert layout_text(both, found.picked).endswith(f" on {decode.sku}")


@pytest.mark.parametrize("load", [{"requestRate": 1e6}, {"concurrency": 1e6}])
def test_a_load_beyond_reach_is_said_without_targets(load):
    found = plan(workload=load)
    assert found.reasons[0].startswith("Nothing carries 1e+06 ")
    carried = f"{found.picked.request_rate:,.2f} requests/s with {found.picked.concurrency:,.0f} in flight"
    assert carried in reason(found, "The load is missed")


def test_end_to_end_latency_is_lower_case_within_a_sentence():
    load = {"requestRate": 5}
    e2e = plan(workload=load).picked.e2e_ms
    found = plan(workload=load, sla={"e2eLatency": 1.001 * e2e.value})
    assert found.picked.at_risk
    assert "end-to-end latency may reach" in reason(found, "At risk")


SAID = re.compile(r"([\d.]+) % (more|less) (tokens/s|end-to-end latency)")


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([{}, {"request_rate": 3.0}, {"request_rate": 30.0}, {"concurrency": 40.0}]),
    st.sampled_from([{}, {"itl_ms": 10.0}, {"itl_ms": 12.0, "ttft_ms": 200.0}, {"e2e_ms": 3000.0}]),
    st.sampled_from(["throughput", "latency"]),
    st.sampled_from([1, 3, 4, 8, 12]),
)
def test_each_difference_that_is_said_is_that_of_the_candidates(load, targets, goal, gpus):
    """Percentages, GPUs and misses in the sentences follow from the two candidates they speak of."""
    asked = question(pool(gpus), sla={**targets, "optimize": goal}, backends=("vllm", "sglang"), **load)
    swept = ask(asked)
    found = profile_of(swept)
    pick = found.picked
    for other in found.candidates[1:40]:
        said = difference(other, pick, asked.workload, asked.sla)
        if match := SAID.search(said):
            value, reference = (
                (other.tokens_per_s, pick.tokens_per_s)
                if match[3] == "tokens/s"
                else (other.e2e_ms.value, pick.e2e_ms.value)
            )
            change = 100 * (value / reference - 1)
            assert (match[2] == "more") == (change > 0)
            assert float(match[1]) == pytest.approx(abs(change), abs=0.0501)
        elif match := re.search(r"(\d+) GPUs? instead of (\d+)", said):
            assert (int(match[1]), int(match[2])) == (other.gpus, pick.gpus)
        elif said.startswith("misses by"):
            assert not pick.meets_sla
            assert float(said.split()[2]) == pytest.approx(miss(other, asked.workload), abs=0.0051)
        elif said.startswith(("misses the SLA", "does not carry")):
            assert pick.meets_sla and not other.meets_sla
            assert said.startswith("misses") == any(not m.met for m in other.margins)
        if "the same" in said:
            pairs = ((other.tokens_per_s, pick.tokens_per_s), (other.e2e_ms.value, pick.e2e_ms.value))
            assert any(abs(a / b - 1) < 0.0101 for a, b in pairs)


def test_a_dearer_layout_is_said_to_be_so():
    """Two pools of unequal price: cost per token is beside what the rule holds against a layout."""
    prices = {"h200_sxm": 4.0, "l40s": 1.0}
    asked = question(pool(4, 4, "h200_sxm"), pool(4, 4, "l40s"), request_rate=2.0, prices=prices)
    found = profile_of(ask(asked))
    for other in found.candidates[1:]:
        ratio = other.cost_per_million_tokens / found.picked.cost_per_million_tokens
        said = difference(other, found.picked, asked.workload, asked.sla)
        assert ("dearer per token" in said) == (ratio >= 1.01)
        assert ("cheaper per token" in said) == (ratio <= 0.99)


def test_energy_is_board_power_over_tokens():
    found = profile_of(ask(question()))
    for candidate in found.candidates:
        watts = sum(GPUS[group.sku].board_power_w * group.gpus for group in candidate.groups)
        assert candidate.joules_per_token == pytest.approx(watts / candidate.tokens_per_s)
