"""The kinds of Kubernetes objects Armature reads or writes, and where the API server keeps each.

Objects themselves are plain mappings, as JSON has them: a field nobody here knows survives a round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CLUSTER_ROLE",
    "CLUSTER_ROLE_BINDING",
    "CONFIG_MAP",
    "CRD",
    "DAEMON_SET",
    "DCD",
    "DCD_V1ALPHA1",
    "DEPLOYMENT",
    "DGD",
    "DGDR",
    "DGDR_V1ALPHA1",
    "DGDSA",
    "DGDSA_V1ALPHA1",
    "DGD_V1ALPHA1",
    "DYNAMO_CHECKPOINT",
    "DYNAMO_MODEL",
    "DYNAMO_WORKER_METADATA",
    "ENDPOINT_SLICE",
    "EVENT",
    "JOB",
    "KINDS",
    "LEASE",
    "MUTATING_WEBHOOKS",
    "NAMESPACE",
    "NODE",
    "POD",
    "PVC",
    "ROLE",
    "ROLE_BINDING",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SUBJECT_ACCESS_REVIEW",
    "TOKEN_REVIEW",
    "VALIDATING_WEBHOOKS",
    "Kind",
    "Object",
    "kind_of",
    "name_of",
    "namespace_of",
    "uid_of",
]

Object = dict[str, Any]
"""One Kubernetes object, as its JSON."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind in one version: `group` is empty for the core API, `plural` names it in URLs and RBAC rules."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of a part of it.

        No namespace means every namespace, or a kind that has none. ValueError when they do not fit each other.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.plural} have no namespace, {namespace!r} was given")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.plural}/{name} needs a namespace")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False)
NODE = Kind("", "v1", "Node", "nodes", False)
POD = Kind("", "v1", "Pod", "pods")
SERVICE = Kind("", "v1", "Service", "services")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
SECRET = Kind("", "v1", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("", "v1", "Event", "events")
PVC = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
JOB = Kind("batch", "v1", "Job", "jobs")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets")
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False
)
VALIDATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    False,
)
MUTATING_WEBHOOKS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    False,
)
CRD = Kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False)
SUBJECT_ACCESS_REVIEW = Kind(
    "authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False
)
TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False)


def _dynamo(version: str, kind: str) -> Kind:
    return Kind("nvidia.com", version, kind, f"{kind.lower()}s")


DGDR = _dynamo("v1beta1", "DynamoGraphDeploymentRequest")
DGD = _dynamo("v1beta1", "DynamoGraphDeployment")
DCD = _dynamo("v1beta1", "DynamoComponentDeployment")
DGDSA = _dynamo("v1beta1", "DynamoGraphDeploymentScalingAdapter")
DYNAMO_MODEL = _dynamo("v1alpha1", "DynamoModel")
DYNAMO_CHECKPOINT = _dynamo("v1alpha1", "DynamoCheckpoint")
DYNAMO_WORKER_METADATA = _dynamo("v1alpha1", "DynamoWorkerMetadata")
DGDR_V1ALPHA1 = _dynamo("v1alpha1", "DynamoGraphDeploymentRequest")
DGD_V1ALPHA1 = _dynamo("v1alpha1", "DynamoGraphDeployment")
DCD_V1ALPHA1 = _dynamo("v1alpha1", "DynamoComponentDeployment")
DGDSA_V1ALPHA1 = _dynamo("v1alpha1", "DynamoGraphDeploymentScalingAdapter")

KINDS: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
"""Every kind above."""

_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in KINDS}


def kind_of(obj: Mapping[str, Any]) -> Kind:
    """The kind of an object, by its apiVersion and kind. KeyError when it is none of ours."""
    return _BY_TYPE[obj["apiVersion"], obj["kind"]]


def name_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("name") or "")


def namespace_of(obj: Mapping[str, Any]) -> str:
    """Empty for an object of a kind without namespaces."""
    return str(obj["metadata"].get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("uid") or "")
