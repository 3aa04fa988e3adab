"""v1alpha1 and v1beta1, each as the other.

`to_v1beta1` is for a user's file: every room above this one reads v1beta1 only, and what it has no place for is said in
a note. `convert_object` is for an API server and loses nothing: what has no place travels in an annotation (`lens`).
Both go through the same functions: `*_to_beta` and `*_to_alpha` hold the fields, `status` the statuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api import v1alpha1, v1beta1
from armature.api.meta import V1ALPHA1
from armature.api.parse import Resource, parse_tolerant_as, to_dict

__all__ = ["convert_object", "convert_review", "to_v1beta1"]


def to_v1beta1(resource: Resource) -> tuple[Resource, tuple[str, ...]]:
    """The resource in v1beta1, and notes on what was dropped, deprecated or reinterpreted.

    Anything but a v1alpha1 request or graph comes back as it is, without notes. Raises InvalidInput where the
    result breaks v1beta1's structure (a `gpuModel` that is no known GPU); a resource from `load` cannot.
    """
    if resource.api_version != V1ALPHA1:
        return resource, ()
    from armature.api.convert.graph_to_beta import convert_graph  # only a v1alpha1 object needs its types
    from armature.api.convert.request_to_beta import convert_request

    if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest):
        converted = convert_request(to_dict(resource))
        return parse_tolerant_as(v1beta1.DynamoGraphDeploymentRequest, converted.data), converted.notes
    if isinstance(resource, v1alpha1.DynamoGraphDeployment):
        converted = convert_graph(to_dict(resource))
        return parse_tolerant_as(v1beta1.DynamoGraphDeployment, converted.data), converted.notes
    return resource, ()


def convert_object(data: Mapping[str, Any], version: str) -> dict[str, Any]:
    """An object in `version`, without loss (`lens.convert_object`)."""
    from armature.api.convert import lens

    return lens.convert_object(data, version)


def convert_review(review: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a ConversionReview (`review.convert_review`)."""
    from armature.api.convert import review as answer

    return answer.convert_review(review)
