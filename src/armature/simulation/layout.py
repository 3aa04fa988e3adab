"""From a planned layout to a deployment of mocker engines: the limits that the graph's flags give them."""

from __future__ import annotations

from collections.abc import Mapping

from armature.perf.steptable import StepTable, TableTimes
from armature.search.profile import Candidate, Group
from armature.serving.mocker.engine import EngineLimits
from armature.simulation.replay import Deployment, Workers

__all__ = ["deployment_of"]

BLOCK_SIZE = 64
"""Tokens; what the graph gives mocker workers (`graph.backends.mocker`)."""


def deployment_of(
    candidate: Candidate,
    step_tables: Mapping[str, StepTable],
    *,
    max_model_len: int,
    transfer_ms_per_token: float = 0.0,
    prefix_caching: bool = True,
) -> Deployment:
    """The candidate's workers as mocker engines. step_tables: by role. Pipeline stages are not simulated: a worker with
    several runs as one."""

    def workers(group: Group) -> Workers:
        limits = EngineLimits(
            max_num_seqs=group.max_num_seqs,
            max_num_batched_tokens=max(group.chunk_tokens, group.max_num_seqs),
            max_model_len=max_model_len,
            block_size=BLOCK_SIZE,
            num_gpu_blocks=max(1, group.kv_room_tokens // BLOCK_SIZE),
            dp=group.dp,
            enable_prefix_caching=prefix_caching,
        )
        table = step_tables[group.role]
        return Workers(group.replicas, limits, TableTimes(table), table.host_ms)

    main = workers(candidate.groups[-1])
    if candidate.mode == "agg":
        return Deployment(main)
    return Deployment(main, workers(candidate.groups[0]), transfer_ms_per_token)
