"""What reasons cost beside the search itself: `python benchmarks/reasons.py`.

CPU time of one process, in milliseconds, with the step times at hand: one sweep; all relaxations; the suggestions where
the case misses its SLA; three answers to --why-not. asks: how many searches each took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from armature.hardware.inventory import parse_hardware
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.search.engines import engines_for
from armature.search.nearest import nearest
from armature.search.question import Question
from armature.search.rapid import sweep
from armature.search.relax import relaxations
from armature.search.selector import parse_selectors
from armature.search.space import BACKENDS
from armature.search.vary import Ask
from armature.search.why_not import why_not
from armature.workload.shape import Sla, Workload

CASES = (
    ("dense", "Qwen/Qwen3-32B-FP8", "8xh200_sxm", ("vllm",), {}, Sla(2000, 30)),
    ("dense, load", "Qwen/Qwen3-32B-FP8", "8xh200_sxm", ("vllm",), {"request_rate": 4.0}, Sla(2000, 30)),
    (
        "dense, all engines",
        "Qwen/Qwen3-32B-FP8",
        "8xh200_sxm",
        BACKENDS,
        {"request_rate": 4.0},
        Sla(2000, 30),
    ),
    ("dense, missed", "Qwen/Qwen3-32B-FP8", "8xh200_sxm", ("vllm",), {"request_rate": 40.0}, Sla(2000, 30)),
    ("dense, all, missed", "Qwen/Qwen3-32B-FP8", "8xh200_sxm", BACKENDS, {"request_rate": 10.0}, Sla(200, 9)),
    ("MoE", "Qwen/Qwen3-30B-A3B", "8xh200_sxm", ("vllm",), {}, Sla(2000, 30)),
    (
        "MoE, missed",
        "deepseek-ai/DeepSeek-R1",
        "4x8xh200_sxm",
        ("sglang",),
        {"request_rate": 10.0},
        Sla(2000, 20),
    ),
)
ASKED = ("tp=8", "mode=disagg,prefill.tp=1,decode.tp=4", "tp=3")


@dataclass
class Counted:
    """A search that counts how often it is asked."""

    ask: Ask
    asks: int = 0

    def __call__(self, question: Question):
        self.asks += 1
        return self.ask(question)

    def contenders(self, question: Question):
        self.asks += 1
        return self.ask.contenders(question)


def cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return 1000 * (time.process_time() - begun)


def main() -> None:
    head = ("case", "sweep", "relaxations", "asks", "suggestions", "asks", "3 why-not")
    print(f"{head[0]:20}" + "".join(f"{name:>13}" for name in head[1:]))
    for name, model, hardware, backends, load, sla in CASES:
        question = Question(
            name=name,
            model=model,
            facts=resolve_model(model, offline=True, env={}),
            inventory=parse_hardware(hardware),
            workload=Workload(4000, 1000, **load),
            sla=sla,
            backends=backends,
        )
        estimator = estimator_for("auto")
        engines = engines_for(question, estimator)
        swept = sweep(question, engines)
        once = cpu_ms(lambda q=question, e=engines: sweep(q, e))
        steps, found = Counted(Ask(estimator)), Counted(Ask(estimator))
        relax_ms = cpu_ms(lambda s=swept, a=steps: relaxations(s, a))
        near_ms = cpu_ms(lambda s=swept, a=found: nearest(s, a))
        selectors = parse_selectors(ASKED)
        why_ms = cpu_ms(lambda s=swept, e=estimator, c=selectors: [why_not(each, s, e) for each in c])
        row = (once, relax_ms, steps.asks, near_ms, found.asks, why_ms)
        print(f"{name:20}" + "".join(f"{value:13.0f}" for value in row))


if __name__ == "__main__":
    main()
