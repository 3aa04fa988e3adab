"""The defaults of a v1beta1 request, made explicit: DGDR-05 to 09, DGDR-12, C-04, C-05."""

from __future__ import annotations

from armature.api.planner_keys import planner_enabled, planner_settings
from armature.api.v1beta1 import DynamoGraphDeploymentRequest

__all__ = ["default_request"]


def default_request(request: DynamoGraphDeploymentRequest) -> DynamoGraphDeploymentRequest:
    """A copy with every default set: backend auto, searchStrategy rapid, autoApply true, isl 4000, osl 1000
    (none with a trace, which has the lengths).

    The SLA gets none (C-05). `features.planner` becomes None when it is off, and otherwise holds the planner's
    own setting names.
    """
    filled = request.model_copy(deep=True)
    spec = filled.spec
    spec.backend, spec.search_strategy, spec.auto_apply = spec.backend, spec.search_strategy, spec.auto_apply
    if spec.workload.trace_ref is None:
        spec.workload.isl, spec.workload.osl = spec.workload.isl, spec.workload.osl
    if spec.model_cache is not None:
        spec.model_cache.pvc_mount_path = spec.model_cache.pvc_mount_path
    planner = spec.features.planner
    if planner is not None:
        spec.features.planner = planner_settings(planner) if planner_enabled(planner) else None
    return filled
