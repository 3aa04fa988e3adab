"""The rules of the API that can be judged from the object alone: one tuple of problems per resource.

Structure (types, enums, patterns, required fields) is the types' own; `load` reports both together. Rules that
need the cluster or the model (VAL-05, VAL-06) belong to rooms above.
"""

from __future__ import annotations

import re

from armature.api import v1alpha1, v1beta1
from armature.api.checkpoint import DynamoCheckpoint
from armature.api.meta import Foreign, Metadata
from armature.api.models import DynamoModel
from armature.api.parse import Resource
from armature.api.validate_dgd import graph_problems, graph_warnings
from armature.api.validate_dgdr import request_problems, request_warnings
from armature.api.validate_model import checkpoint_problems, checkpoint_warnings, model_problems
from armature.errors import Problem

__all__ = ["validate", "warnings_of"]

_NAMES_SERVICES = ("DynamoGraphDeploymentRequest", "DynamoGraphDeployment")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_1123 = (
    "is not a DNS-1123 name: lowercase letters, digits and dashes, from letter or digit to letter or digit"
)


def validate(resource: Resource) -> tuple[Problem, ...]:
    """Every rule the resource breaks; empty when it is sound. Foreign objects are not judged."""
    if isinstance(resource, Foreign):
        return ()
    problems = _metadata_problems(resource.metadata, resource.kind not in _NAMES_SERVICES)
    if isinstance(resource, v1beta1.DynamoGraphDeploymentRequest):
        problems += request_problems(resource)
    elif isinstance(resource, v1beta1.DynamoGraphDeployment):
        problems += graph_problems(resource)
    elif isinstance(resource, DynamoModel):
        problems += model_problems(resource)
    elif isinstance(resource, DynamoCheckpoint):
        problems += checkpoint_problems(resource)
    elif isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest | v1alpha1.DynamoGraphDeployment):
        from armature.api.validate_alpha import alpha_problems  # only a v1alpha1 object needs its types

        problems += alpha_problems(resource)
    elif resource.kind == "DynamoComponentDeployment" and isinstance(resource.spec, v1beta1.Component):
        from armature.api.validate_component import component_problems

        problems += component_problems(resource.spec, "spec")
    return tuple({(problem.path, problem.rule): problem for problem in problems}.values())


def warnings_of(resource: Resource) -> tuple[str, ...]:
    """What works but should be known: deprecated fields, units that look wrong, what a conversion leaves out.

    Of a v1alpha1 object these include the notes of `to_v1beta1`.
    """
    if isinstance(resource, v1beta1.DynamoGraphDeploymentRequest):
        return request_warnings(resource)
    if isinstance(resource, v1beta1.DynamoGraphDeployment):
        return graph_warnings(resource)
    if isinstance(resource, DynamoCheckpoint):
        return checkpoint_warnings(resource)
    if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest | v1alpha1.DynamoGraphDeployment):
        from armature.api.validate_alpha import alpha_warnings

        return alpha_warnings(resource)
    return ()


def _metadata_problems(metadata: Metadata, dotted_names: bool) -> list[Problem]:
    """Names as Kubernetes takes them; a request's or graph's name becomes part of Service names, so no dots."""
    problems = []
    limit, pattern = (253, _SUBDOMAIN) if dotted_names else (63, _LABEL)
    name = metadata.name
    if not name:
        problems.append(Problem("metadata.name", "required field is missing", "add metadata.name"))
    elif len(name) > limit:
        rule = f"longer than {limit} characters ({len(name)})"
        problems.append(Problem("metadata.name", rule, "choose a shorter name", name))
    elif not pattern.fullmatch(name):
        suggestion = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
        mend = f"write {suggestion}" if suggestion else "choose a name such as my-model"
        problems.append(Problem("metadata.name", _DNS_1123, mend, name))
    namespace = metadata.namespace
    if namespace is not None and not (len(namespace) <= 63 and _LABEL.fullmatch(namespace)):
        problems.append(Problem("metadata.namespace", _DNS_1123, "at most 63 characters", namespace))
    return problems
