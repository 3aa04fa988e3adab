"""What the reasons say agrees with the rule that chose: held on whole profiles of the formula estimator."""

from __future__ import annotations

import json

import pytest
from msgspec import structs
from search_ask import question
from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.api import default_request, load_documents
from armature.search.binding import Binding
from armature.search.explain import layout_text, reasons
from armature.search.profile import Margin, Profile
from armature.search.rapid import profile


def plan(*pools, facts=None, workload=None, sla=None) -> Profile:
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "explained"},
        "spec": {
            "model": "test/dense-8b",
            "backend": "vllm",
            "workload": {"isl": 2000, "osl": 200, **(workload or {})},
            "sla": sla or {},
        },
    }
    (request,) = load_documents(json.dumps(document), "explained")
    return profile(
        default_request(request),  # type: ignore[arg-type]
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
