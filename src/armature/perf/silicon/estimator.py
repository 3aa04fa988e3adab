"""Step times from measured operator tables (aiconfigurator-core), with guards against broken ones.

For each engine the library is asked once, on a fixed lattice; every later answer is an interpolation of it. Answers
are kept in the process, and on disk when a cache is given.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from armature.hardware.catalog import GPUS, Gpu
from armature.model.facts import ModelFacts
from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend, EngineSpec
from armature.perf.lattice import LatticeTimes
from armature.perf.silicon import library
from armature.perf.silicon.library import NoSiliconData
from armature.perf.silicon.measure import Attentions, measured
from armature.perf.silicon.step_cache import StepCache

__all__ = ["NoSiliconData", "SiliconEstimator", "supported"]

_KEPT = 512


class SiliconEstimator:
    """Makes step times from measured tables; raises NoSiliconData where there are none. Threads may share it."""

    name = "silicon"

    def __init__(self, cache: StepCache | None = None) -> None:
        self._cache = cache
        self._kept: OrderedDict[tuple[object, ...], LatticeTimes | NoSiliconData] = OrderedDict()
        self._attentions = Attentions()
        self._lock = threading.RLock()

    def engine(self, spec: EngineSpec) -> LatticeTimes:
        key = _key(spec)
        with self._lock:
            answer = self._kept.pop(key, None)
            if answer is None:
                answer = self._answer(spec)
            self._kept[key] = answer
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        if isinstance(answer, NoSiliconData):
            raise NoSiliconData(answer.message, answer.mend)
        return answer

    def _answer(self, spec: EngineSpec) -> LatticeTimes | NoSiliconData:
        """The measured lattice, or why there is none."""
        try:
            _require_tables(spec.gpu)
        except NoSiliconData as error:
            return error.with_traceback(None)
        answer = self._cache.get(spec) if self._cache is not None else None
        if answer is not None:
            return answer
        try:
            with library.quiet():
                answer = measured(spec, self._attentions)
        except NoSiliconData as error:
            # Without what it was raised from: a traceback holds on to the library's tables.
            answer = NoSiliconData(error.message, error.mend, lasting=error.lasting)
        if self._cache is not None:
            self._cache.put(spec, answer)
        return answer


def supported(
    facts: ModelFacts, gpu: Gpu, backend: Backend, estimator: SiliconEstimator | None = None
) -> tuple[bool, str]:
    """Whether measured tables cover the model on this GPU and backend in some layout, and why (not).

    estimator: whom to ask; with a cache, what it says is kept for the next search. A system and backend that are not
    loaded yet take up to a second, others a tenth. Memory is not looked at.
    """
    cause = ""
    asked = estimator or SiliconEstimator()
    kv_dtypes = dict.fromkeys(("fp8" if "fp8" in gpu.flops else "bf16", "bf16"))
    for parallelism in _usual_layouts(facts):
        for kv_dtype in kv_dtypes:
            try:
                times = asked.engine(EngineSpec(facts, gpu, backend, parallelism, kv_dtype))
            except NoSiliconData as error:
                cause = cause or error.message
            else:
                estimated = times.source == "estimated"
                return True, "measured tables, labelled estimated" if estimated else "measured tables"
    return False, cause


def _usual_layouts(facts: ModelFacts) -> Iterator[Parallelism]:
    for width in (8, 4, 2, 1, 16):
        if facts.is_moe:
            yield Parallelism(tp=width, moe_ep=width)
            yield Parallelism(dp=width, moe_ep=width)
            yield Parallelism(tp=width, moe_tp=width)
        else:
            yield Parallelism(tp=width)


def _key(spec: EngineSpec) -> tuple[object, ...]:
    facts = spec.facts
    model = (facts.name, facts.config_dir, facts.weight_bytes, facts.quantisation)
    return (*model, spec.gpu, spec.backend, spec.parallelism, spec.kv_dtype)


def _require_tables(gpu: Gpu) -> None:
    """Raises NoSiliconData where the library is missing or has no system for the GPU; for a slice, a part with other
    memory or another link, or a product classed by a donor: tables were measured on the whole GPU that the SKU
    names."""
    known = GPUS.get(gpu.sku)
    if known is None or gpu.estimated:
        raise NoSiliconData(f"the tables are of another part than {gpu.name}")
    if (gpu.bandwidth_bytes_per_s, gpu.link) != (known.bandwidth_bytes_per_s, known.link):
        raise NoSiliconData(f"the tables are of {known.name} with other memory or another link")
    library.require(gpu.sku)
