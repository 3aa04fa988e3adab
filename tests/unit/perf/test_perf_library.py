"""The door to the estimator library: what is taken from it beside its facade gives the facade's own answers."""

from __future__ import annotations

import gc
import json
import threading
import weakref

import pytest

from armature.hardware.catalog import GPUS
from armature.model.parallelism import Parallelism
from armature.perf.estimate import EngineSpec
from armature.perf.silicon import NoSiliconData, SiliconEstimator, library
from armature.perf.silicon.measure import attention_of, sampled

pytest.importorskip("aiconfigurator_core")

DENSE, MOE = "Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B"


def compiled(facts, model=DENSE, sku="h200_sxm", backend="vllm", parallelism=None, **modes):
    spec = EngineSpec(facts(model), GPUS[sku], backend, parallelism or Parallelism(tp=2), "bf16")
    with library.quiet():
        return library.compile_handle(spec, **modes)[0]


@pytest.mark.parametrize(
    ("model", "sku", "backend", "parallelism"),
    [
        (DENSE, "h200_sxm", "vllm", Parallelism(tp=2)),
        (MOE, "b200_sxm", "sglang", Parallelism(dp=4, moe_ep=4)),
        (DENSE, "h200_sxm", "trtllm", Parallelism(tp=2, pp=2)),
    ],
)
def test_an_engine_is_to_the_last_byte_what_the_facade_compiles(facts, model, sku, backend, parallelism):
    """With lanes.json, with our own reading of the current version, without a database of its own."""
    from aiconfigurator_core.sdk.engine import EngineHandle

    p, kv = parallelism, {"kvcache_quant_mode": "bfloat16"}
    with library.quiet():
        theirs = EngineHandle.compile(
            model, sku, backend, tp_size=p.tp, pp_size=p.pp, attention_dp_size=p.dp, moe_tp_size=p.moe_tp,
            moe_ep_size=p.moe_ep, **kv,
        )  # fmt: skip
    ours = compiled(facts, model, sku, backend, parallelism, **kv)
    assert ours._engine.spec_bytes == theirs.spec_bytes
    assert ours.prefill_ms(3000, 500) == theirs.predict_prefill_latency(1, 3500, 500)
    assert ours.decode_ms(7, 3333) == theirs.decode_step_latency(7, 3333, 2)


def test_lanes_are_made_from_the_version_that_is_installed():
    assert library._known_lanes(), "the library moved: run docs/make_lanes.py"


def test_lanes_of_another_version_are_not_used(monkeypatch):
    monkeypatch.setattr(library, "version", lambda: "0.12.99")
    library._known_lanes.cache_clear()
    try:
        assert library._known_lanes() == {}
    finally:
        library._known_lanes.cache_clear()


def test_the_current_version_is_the_one_the_library_names():
    from pathlib import Path

    from aiconfigurator_core.sdk.perf_database import get_systems_paths, get_version_slots

    root = Path(get_systems_paths()[0])
    for system in set(library.SYSTEMS.values()):
        for backend in ("vllm", "sglang", "trtllm"):
            assert (
                library._current_version(root, system, backend)
                == get_version_slots(system, backend)["current"]
            )


def test_one_engine_each_of_the_last_systems_stays_open(facts, monkeypatch):
    """The library frees its tables with the last engine that reads them, and would load them again for the next."""
    monkeypatch.setattr(library, "_open", type(library._open)())
    monkeypatch.setattr(library, "_OPEN", 1)
    made = []
    for sku, tp in (("h200_sxm", 1), ("h200_sxm", 2), ("a100_sxm", 1)):
        handle = compiled(facts, "Qwen/Qwen3-8B", sku, parallelism=Parallelism(tp=tp))
        made.append(weakref.ref(handle._engine))
        if len(made) == 2:
            handle = None
            gc.collect()
            assert [engine() is not None for engine in made] == [True, False]
    handle = None
    gc.collect()
    assert [engine() is not None for engine in made] == [False, False, True]


def test_the_first_engine_loads_the_tables_of_both_phases_on_two_threads(facts, monkeypatch):
    """Each kind of operation is asked once; that a question fails is nobody's concern here."""
    asked = []
    gate = threading.Barrier(2, timeout=20)  # passes only when two threads are at it

    class Engine:
        def evaluate_context_ops(self, indices, **_):
            asked.append(("context", *indices))
            if indices[0] in (0, 2):
                gate.wait()
            raise RuntimeError("no such table")

        def evaluate_generation_ops(self, indices, **_):
            asked.append(("generation", *indices))

    monkeypatch.setattr(library, "_open", type(library._open)())
    wire = {"context_ops": [{"A": {}}, {"A": {}}, {"B": {}}], "generation_ops": [{"B": {}}, {"C": {}}]}
    library._keep_open("h200_sxm", "vllm", Engine(), json.dumps(wire))
    assert sorted(asked) == [("context", 0), ("context", 2), ("generation", 1)]
    library._keep_open("h200_sxm", "vllm", Engine(), json.dumps(wire))
    assert len(asked) == 3


def test_threads_share_an_estimator(facts):
    """Eight threads ask for three engines; each is measured once and answers are those of one thread alone."""
    specs = [
        EngineSpec(facts(MOE), GPUS["h200_sxm"], "vllm", Parallelism(tp=tp, moe_ep=tp), "bf16")
        for tp in (1, 2, 4)
    ]
    shared, alone = SiliconEstimator(), SiliconEstimator()
    answers: dict[int, list[object]] = {}

    def ask(thread: int) -> None:
        answers[thread] = [shared.engine(specs[(thread + turn) % 3]) for turn in range(3)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(times) for each in answers.values() for times in each}) == 3
    for thread, times in answers.items():
        expected = alone.engine(specs[thread % 3])
        assert (times[0].decode == expected.decode).all()
        assert (times[0].prefill == expected.prefill).all()


def test_sampling_refuses_values_that_are_no_times():
    class Broken:
        def prefill_ms(self, tokens, prior=0):
            return 1.0

        def decode_ms(self, batch, context):
            return float("nan") if batch > 500 else 1.0

    with pytest.raises(NoSiliconData, match="no times"):
        sampled(Broken(), attention_of(Broken()))
