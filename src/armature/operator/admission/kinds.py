"""The kinds that admission knows, and the paths of their webhooks as the field has them (WH-01, reference §3.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from armature.api.meta import API_GROUP

__all__ = ["ADMITTED", "ALPHA", "BETA", "CONVERT_PATH", "Admitted", "mutate_paths", "validate_paths"]

ALPHA, BETA = "v1alpha1", "v1beta1"
CONVERT_PATH = "/convert"


@dataclass(frozen=True, slots=True)
class Admitted:
    """One kind. versions: those served, the first being the one whose path the configurations name."""

    kind: str
    versions: tuple[str, ...]
    defaulted: bool = False

    @property
    def plural(self) -> str:
        return f"{self.kind.lower()}s"


_ALL = (
    Admitted("DynamoGraphDeploymentRequest", (BETA, ALPHA), defaulted=True),
    Admitted("DynamoGraphDeployment", (ALPHA, BETA), defaulted=True),
    Admitted("DynamoComponentDeployment", (ALPHA, BETA)),
    Admitted("DynamoModel", (ALPHA, BETA)),
    Admitted("DynamoCheckpoint", (ALPHA,)),
    Admitted("DynamoGraphDeploymentScalingAdapter", (ALPHA, BETA)),
)
ADMITTED: Mapping[str, Admitted] = MappingProxyType({admitted.kind: admitted for admitted in _ALL})


def validate_paths(admitted: Admitted) -> tuple[str, ...]:
    """Every path that a validating webhook of the kind may have; the first is the one we install."""
    return _paths("validate", admitted)


def mutate_paths(admitted: Admitted) -> tuple[str, ...]:
    return _paths("mutate", admitted) if admitted.defaulted else ()


def _paths(verb: str, admitted: Admitted) -> tuple[str, ...]:
    """The two forms of the references: `/validate-nvidia-com-v1alpha1-dynamomodel` and
    `/mutate/nvidia.com/v1beta1/dynamographdeployments`."""
    dashed = API_GROUP.replace(".", "-")
    return (
        *(f"/{verb}-{dashed}-{version}-{admitted.kind.lower()}" for version in admitted.versions),
        *(f"/{verb}/{API_GROUP}/{version}/{admitted.plural}" for version in admitted.versions),
    )
