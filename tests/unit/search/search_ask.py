"""Requests and questions made in one line, and the search asked with the formula estimator."""

from __future__ import annotations

import json

from search_fakes import FormulaEstimator, dense_facts, inventory, pool

from armature.api import default_request, load_documents
from armature.search.question import Question
from armature.search.vary import Ask
from armature.workload.shape import Sla, Workload

ESTIMATOR = FormulaEstimator()
ask = Ask(ESTIMATOR)


def request_for(**spec):
    """A request as a file would have it, its defaults filled: of the model of `dense_facts` on vLLM unless it says."""
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "asked"},
        "spec": {"model": "test/dense-8b", "backend": "vllm", **spec},
    }
    (loaded,) = load_documents(json.dumps(document), "asked")
    return default_request(loaded)


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
