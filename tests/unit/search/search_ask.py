"""Questions made in one line, and the search asked with the formula estimator."""

from __future__ import annotations

from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.search.question import Question
from armature.search.vary import Ask
from armature.workload.shape import Sla, Workload

ESTIMATOR = FormulaEstimator()
ask = Ask(ESTIMATOR)


def question(*pools, facts=None, backends=("vllm",), sla=None, rdma=True, prices=None, **load) -> Question:
    """The model of `dense_facts` on eight H200, 2,000 to 200 tokens; `load` and `sla` as in Workload and Sla."""
    return Question(
        name="asked",
        model="test/dense-8b",
        facts=facts or dense_facts(),
        inventory=inventory(*(pools or (pool(),))),
        workload=Workload(**{"isl": 2000, "osl": 200, **load}),
        sla=Sla(**(sla or {})),
        backends=backends,
        assume_rdma=rdma,
        prices=prices or {},
    )
