"""v1alpha1 to v1beta1, one way: every room above this one reads v1beta1 only.

`convert_dgdr` and `convert_dgd` hold the fields; each yields a `Converted`. What v1beta1 has no place for is said
in a note or kept in an annotation, never dropped in silence.
"""

from __future__ import annotations

from armature.api import v1alpha1, v1beta1
from armature.api.parse import Resource, parse_tolerant_as

__all__ = ["to_v1beta1"]


def to_v1beta1(resource: Resource) -> tuple[Resource, tuple[str, ...]]:
    """The resource in v1beta1, and notes on what was dropped, deprecated or reinterpreted.

    Anything but a v1alpha1 request or graph comes back as it is, without notes. Raises InvalidInput where the
    result breaks v1beta1's structure (a `gpuModel` that is no known GPU); a resource from `load` cannot.
    """
    if isinstance(resource, v1beta1.DynamoGraphDeploymentRequest | v1beta1.DynamoGraphDeployment):
        return resource, ()
    from armature.api.convert_dgd import convert_graph  # only a v1alpha1 object needs its types
    from armature.api.convert_dgdr import convert_request

    if isinstance(resource, v1alpha1.DynamoGraphDeploymentRequest):
        converted = convert_request(resource)
        return parse_tolerant_as(v1beta1.DynamoGraphDeploymentRequest, converted.data), converted.notes
    if isinstance(resource, v1alpha1.DynamoGraphDeployment):
        converted = convert_graph(resource)
        return parse_tolerant_as(v1beta1.DynamoGraphDeployment, converted.data), converted.notes
    return resource, ()
