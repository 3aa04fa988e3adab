"""Which parallelisms exist (ENUM-01..ENUM-06) and how workers share nodes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_fakes import dense_facts, mla_facts, moe_facts, placed, pool

from armature.model.facts import Attention, ModelFacts, Quantisation
from armature.model.memory import smallest_parallelism
from armature.model.parallelism import Parallelism
from armature.model.resolve import bundled_models, resolve_model
from armature.search.placement import count_grid, worker_slots
from armature.search.space import PARTIAL, batch_grid, can_hand_over, parallelisms, reaches, runs


def labels(facts, gpus) -> set[str]:
    return {p.label for p in parallelisms(facts, gpus)}


def test_dense_models_run_tp_and_pp_within_one_node():
    """ENUM-03, ENUM-04."""
    found = parallelisms(dense_facts(), pool(32, 8))
    assert {p.tp for p in found} == {1, 2, 4, 8}
    assert all(p.dp == p.moe_ep == p.moe_tp == 1 and p.gpus <= 8 for p in found)


def test_gqa_moe_runs_tp_tep_and_dep_up_to_four_nodes():
    """ENUM-02, ENUM-04."""
    found = labels(moe_facts(), pool(64, 8))
    assert {"tp2", "tep2", "dep2", "tep32", "dep32"} <= found
    assert "tep64" not in found


def test_mla_moe_has_no_plain_tp():
    """ENUM-01."""
    strategies = {p.strategy for p in parallelisms(mla_facts(), pool(32, 8)) if p.gpus > 1}
    assert strategies == {"TEP", "DEP", "DTP"}


@pytest.mark.parametrize("facts", [dense_facts(), moe_facts(), mla_facts()], ids=["dense", "gqa", "mla"])
def test_gpu_arithmetic_holds(facts):
    """ENUM-06: tp * pp * dp = moe_tp * moe_ep * pp."""
    for p in parallelisms(facts, pool(32, 8)):
        if facts.is_moe:
            assert p.tp * p.pp * p.dp == p.moe_tp * p.moe_ep * p.pp == p.gpus
        else:
            assert p.gpus == p.tp * p.pp


def test_tp_divides_heads_and_block_fp8_leaves_whole_blocks():
    odd = dense_facts(attention=Attention("mha", heads=28, kv_heads=4, head_dim=128, full_layers=32))
    assert {p.tp for p in parallelisms(odd, pool())} == {1, 2, 4}
    blocked = replace(moe_facts(), quantisation=Quantisation("fp8", "fp8", "bf16", "fp8 block 128x128"))
    assert {p.moe_tp for p in parallelisms(blocked, pool()) if p.moe_ep == 1} == {
        1,
        2,
    }  # 768 / 4 is no whole block


def test_a_dense_model_that_no_node_holds_gets_pipelines_of_whole_nodes():
    """GAP-10: two to four nodes, and only then more."""
    _, four, eight = reaches(dense_facts(), pool(64, 8))
    assert [(p.tp, p.pp) for p in four] == [(8, 2), (8, 3), (8, 4)]
    assert [(p.tp, p.pp) for p in eight] == [(8, 5), (8, 6), (8, 7), (8, 8)]
    assert len(list(reaches(dense_facts(), pool(8, 8)))) == 1


def test_experts_that_four_nodes_do_not_hold_spread_over_more():
    """GAP-10, ENUM-08: 64-way and 128-way expert parallelism."""
    _, eight, sixteen = reaches(mla_facts(), pool(128, 8))
    assert {"tep64", "dep64", "tp8dp8ep64"} <= {p.label for p in eight}
    assert {p.gpus for p in eight} == {64} and {p.gpus for p in sixteen} == {128}
    assert len(list(reaches(mla_facts(), pool(32, 8)))) == 1


def test_between_tp_and_dp_and_between_tp_and_ep_there_is_something():
    found = labels(mla_facts(), pool(32, 8))
    assert {"tp2dp4ep8", "tp4dp2ep8", "tp8etp2ep4", "dp8etp2ep4", "tp8dp4ep32", "dtp8", "tp4dp2etp8"} <= found
    assert all(p.tp <= 8 or p.dp == 1 for p in parallelisms(mla_facts(), pool(32, 8))), (
        "tensor parts in a node"
    )
    assert all(p.moe_tp == 1 for p in parallelisms(mla_facts(), pool(32, 8)) if p.gpus > 8)


@pytest.mark.parametrize(
    ("backend", "without"),
    [("vllm", {"tp8etp2ep4", "dp8etp2ep4"}), ("trtllm", {"tp2dp4ep8", "tp4dp2ep8"}), ("sglang", set())],
)
def test_an_engine_is_asked_only_for_what_it_has(backend, without):
    mixed = {p.label: p for p in parallelisms(mla_facts(), pool(8, 8))}
    assert without <= {label for label, p in mixed.items() if not runs(backend, p)}
    assert {"tep8", "dep8"} <= {label for label, p in mixed.items() if runs(backend, p)}
    assert backend != "sglang" or all(runs(backend, p) for p in mixed.values())


@pytest.mark.parametrize(
    ("backend", "allowed"),
    [
        ("vllm", {(1, 1)}),
        ("sglang", {(1, 1), (2, 1), (4, 1), (2, 2), (4, 4)}),
        ("trtllm", set(itertools.product((1, 2, 4), repeat=2))),
    ],
)
def test_only_engines_that_can_move_kv_caches_pair(backend, allowed):
    """A vLLM worker with pipeline stages and a NixlConnector does not start."""
    stages = itertools.product((1, 2, 4), repeat=2)
    found = {
        (p, d) for p, d in stages if can_hand_over(backend, Parallelism(tp=2, pp=p), Parallelism(tp=1, pp=d))
    }
    assert found == allowed


def test_batches_are_shares_of_one_then_one_to_the_largest():
    for largest in (1, 2, 15, 16, 17, 100, 1024):
        shares, grid = np.split(batch_grid(largest), [len(PARTIAL)])
        assert grid[0] == 1 and grid[-1] == largest and (np.diff(grid) > 0).all()
        assert 0 < shares[0] < 0.001 and 0.9 < shares[-1] < 0.95 and (np.diff(shares) > 0).all()


@given(st.integers(0, 100_000))
def test_counts_are_all_small_ones_then_a_few_up_to_the_most(most):
    """A hundred thousand GPUs are accepted, and must be planned for in memory that a laptop has."""
    grid = count_grid(most)
    assert grid[:64].tolist() == list(range(1, min(most, 64) + 1))
    assert len(grid) < 250
    assert most == 0 or grid[-1] == most
    assert (grid[64:] <= 1.06 * grid[63:-1] + 1).all()


@given(st.integers(1, 20), st.sampled_from([1, 2, 4, 8]), st.data())
def test_sharing_nodes_equals_putting_workers_on_nodes_one_by_one(gpus, node, data):
    sizes = [size for size in (1, 2, 4, 8, 16) if size <= node or size % node == 0]
    small, big = sorted(data.draw(st.tuples(st.sampled_from(sizes), st.sampled_from(sizes))))
    slots = worker_slots(pool(gpus, node))
    counts = np.arange(0, 21)
    mask = slots.fits_beside(big, counts[:, None], small, counts[None, :])
    for at, beside in itertools.product(range(21), repeat=2):
        assert mask[at, beside] == placed(gpus, node, (big,) * at + (small,) * beside), (at, beside)


@cache
def bundled_facts() -> list[ModelFacts]:
    return [resolve_model(name, offline=True) for name in bundled_models()]


@pytest.mark.parametrize("sku", ["l40s", "h100_sxm", "h200_sxm", "t4"])
def test_what_is_said_to_fit_is_what_the_search_would_try(sku):
    """`TP8PP4 would fit` is no help where mixtures of experts run no pipelines."""
    advised = 0
    for facts in bundled_facts():
        gpus = pool(64, 8, sku)
        found = smallest_parallelism(
            facts,
            vram_bytes=gpus.gpu.vram_bytes,
            sequence_tokens=5000,
            prefill_tokens=8192,
            kv_dtype="bf16",
        )
        tried = {p for shapes in reaches(facts, gpus) for p in shapes}
        advised += found is not None and found.gpus > 1
        assert found is None or found in tried, (facts.name, found)
    assert advised > 5
