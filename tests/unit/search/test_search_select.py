"""Another point as the pick (UI-01): the profile says so, and what belonged to the old pick's engines does not stay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.api import default_request, load_documents
from armature.errors import ArmatureError
from armature.search.profile import Profile
from armature.search.rapid import profile
from armature.search.select import engines_of, same_engines, selected

DOCUMENT = {
    "apiVersion": "nvidia.com/v1beta1",
    "kind": "DynamoGraphDeploymentRequest",
    "metadata": {"name": "chosen", "namespace": "team", "uid": "1-2", "labels": {"a": "b"}},
    "spec": {
        "model": "test/dense-8b",
        "backend": "vllm",
        "workload": {"isl": 2000, "osl": 200},
        "sla": {"itl": 6},
    },
    "status": {"phase": "Pending"},
}
FACTS = dense_facts()


@pytest.fixture(scope="module")
def plan() -> Profile:
    (request,) = load_documents(json.dumps(DOCUMENT), "chosen")
    return profile(default_request(request), inventory(pool()), FACTS, FormulaEstimator())


def test_the_profile_holds_the_request_without_what_a_cluster_adds(plan):
    assert plan.request["metadata"] == {"name": "chosen", "namespace": "team"}
    assert "status" not in plan.request
    assert plan.request["spec"]["searchStrategy"] == "rapid"  # its defaults are filled
    (again,) = load_documents(json.dumps(plan.request), "again")
    assert again.spec.sla.itl == 6
    assert Profile.from_json(plan.to_json()) == plan


def test_each_group_has_the_engine_of_its_own_pool():
    """Two pools of one SKU, and one of another: unequal GPUs for prefill and decode."""
    (request,) = load_documents(json.dumps(DOCUMENT), "chosen")
    pools = inventory(pool(4, sku="h200_sxm"), pool(4, sku="l40s"))
    found = profile(default_request(request), pools, FACTS, FormulaEstimator())
    candidate = next(c for c in found.candidates if len({g.sku for g in c.groups}) == 2)
    engines = engines_of(found, candidate, FACTS, FormulaEstimator())
    for group in candidate.groups:
        assert engines[group.role].pool.gpu.sku == group.sku
        assert engines[group.role].fit.kv_room_tokens == group.kv_room_tokens


def test_a_stated_link_is_the_engines_too():
    (request,) = load_documents(json.dumps(DOCUMENT), "chosen")
    slow = pool(sku="h200_sxm")
    slow = replace(slow, gpu=slow.gpu.linked_by("pcie"))
    found = profile(default_request(request), inventory(slow), FACTS, FormulaEstimator())
    engines = engines_of(found, found.picked, FACTS, FormulaEstimator())
    assert {engine.pool.gpu for engine in engines.values()} == {slow.gpu}


def test_the_picks_own_point_changes_nothing(plan):
    assert selected(plan, plan.pick) is plan


def test_every_point_can_be_the_pick(plan):
    assert len(plan.pareto) > 3
    for number, id in enumerate(plan.pareto, start=1):
        if id == plan.pick:
            continue
        candidate = plan.candidate(id)
        found = selected(plan, id, engines_of(plan, candidate, FACTS, FormulaEstimator()), FACTS)
        assert (found.pick, found.runner_up) == (id, plan.pick)
        assert (found.binding, found.modes, found.relaxations, found.suggestions) == ("none", None, (), ())
        assert set(found.step_tables) == {group.role for group in candidate.groups}
        assert f"point {number} of the front" in found.reasons[0]
        assert any("misses the SLA" in text for text in found.reasons) == (not candidate.meets_sla)
        assert Profile.from_json(found.to_json()) == found


def test_curves_and_tables_are_what_the_search_makes_of_that_pick(plan):
    """Each engine's own search, on its pick, says the same."""
    other = next(c for c in plan.candidates if not same_engines(plan, c) and c.mode == "agg")
    found = selected(plan, other.id, engines_of(plan, other, FACTS, FormulaEstimator()), FACTS)
    assert found.curves != plan.curves
    back = selected(found, plan.pick, engines_of(plan, plan.picked, FACTS, FormulaEstimator()), FACTS)
    assert (back.curves, back.step_tables) == (plan.curves, plan.step_tables)


def test_same_engines_keep_their_tables_without_any_facts(plan):
    same = next(c for c in plan.candidates if c.id != plan.pick and same_engines(plan, c))
    found = selected(plan, same.id)
    assert (found.curves, found.step_tables, found.notes) == (plan.curves, plan.step_tables, plan.notes)


def test_without_facts_wrong_tables_go_and_a_note_says_so(plan):
    other = next(c for c in plan.candidates if not same_engines(plan, c))
    found = selected(plan, other.id)
    assert found.step_tables == {}
    assert "curves are of" in found.notes[-1]


def test_a_candidate_that_is_not_there(plan):
    with pytest.raises(ArmatureError, match="nowhere"):
        selected(plan, "nowhere")
