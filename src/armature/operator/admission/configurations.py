"""The objects that make the API server ask: webhook configurations, and where CRDs are converted (WH-04, WH-11).

One webhook per kind, with both versions in its rules, so that each object is judged in the version that the user
wrote. DELETE is not asked about: deleting must work with no operator there, and so must the removal of a finalizer,
which is why objects that go are matched out (WH-08).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from armature.api.meta import API_GROUP
from armature.operator.admission.kinds import (
    ADMITTED,
    CONVERT_PATH,
    Admitted,
    mutate_paths,
    validate_paths,
)

__all__ = ["WebhookOptions", "configuration_names", "conversion_client", "mutating", "validating"]

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """release: prefix of names. service, namespace, service_port: the Service in front of the operator; url in its
    place, for an operator outside the cluster ("https://127.0.0.1:9443"). ca_bundle: base64, where it is given from
    outside; empty where the operator or cert-manager puts it in. certificate: cert-manager's Certificate
    "<namespace>/<name>", in that mode. only_namespace: of an operator that looks after one. skip_deleting: leave out
    objects that go; API servers before 1.27 do not know how.
    """

    release: str
    service: str
    namespace: str
    service_port: int = 443
    url: str = ""
    ca_bundle: str = ""
    certificate: str = ""
    failure_policy: Literal["Fail", "Ignore"] = "Fail"
    timeout_s: int = 10
    namespace_selector: Mapping[str, Any] = field(default_factory=dict)
    only_namespace: str = ""
    skip_deleting: bool = True


def configuration_names(release: str, only_namespace: str = "") -> tuple[str, str]:
    """Of the validating and of the mutating configuration (WH-11)."""
    suffix = f"-{only_namespace}" if only_namespace else ""
    return f"{release}-validating{suffix}", f"{release}-mutating{suffix}"


def validating(options: WebhookOptions) -> Object:
    """The ValidatingWebhookConfiguration."""
    webhooks = [
        _webhook("v", admitted, validate_paths(admitted)[0], options) for admitted in ADMITTED.values()
    ]
    name, _ = configuration_names(options.release, options.only_namespace)
    return _configuration("ValidatingWebhookConfiguration", name, webhooks, options)


def mutating(options: WebhookOptions) -> Object:
    """The MutatingWebhookConfiguration. Defaults are idempotent, so that once is enough."""
    webhooks = [
        {**_webhook("m", admitted, mutate_paths(admitted)[0], options), "reinvocationPolicy": "Never"}
        for admitted in ADMITTED.values()
        if admitted.defaulted
    ]
    _, name = configuration_names(options.release, options.only_namespace)
    return _configuration("MutatingWebhookConfiguration", name, webhooks, options)


def conversion_client(options: WebhookOptions) -> Object:
    """Where CRDs have their objects converted: the `client_config` of `api.crds.crd`."""
    return _client_config(CONVERT_PATH, options)


def _configuration(kind: str, name: str, webhooks: list[Object], options: WebhookOptions) -> Object:
    metadata: Object = {"name": name, "labels": {"app.kubernetes.io/managed-by": options.release}}
    if options.certificate:
        metadata["annotations"] = {"cert-manager.io/inject-ca-from": options.certificate}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "webhooks": webhooks,
    }


def _webhook(prefix: str, admitted: Admitted, path: str, options: WebhookOptions) -> Object:
    webhook: Object = {
        "name": f"{prefix}{admitted.kind.lower()}.{API_GROUP}",
        "admissionReviewVersions": ["v1"],
        "clientConfig": _client_config(path, options),
        "rules": [
            {
                "apiGroups": [API_GROUP],
                "apiVersions": list(admitted.versions),
                "operations": ["CREATE", "UPDATE"],
                "resources": [admitted.plural],
                "scope": "Namespaced",
            }
        ],
        "failurePolicy": options.failure_policy,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": options.timeout_s,
        "namespaceSelector": _selector(options),
    }
    if options.skip_deleting:
        expression = "!has(object.metadata.deletionTimestamp)"
        webhook["matchConditions"] = [{"name": "not-going", "expression": expression}]
    return webhook


def _selector(options: WebhookOptions) -> Object:
    if options.only_namespace:
        return {"matchLabels": {"kubernetes.io/metadata.name": options.only_namespace}}
    return dict(options.namespace_selector)


def _client_config(path: str, options: WebhookOptions) -> Object:
    config: Object
    if options.url:
        config = {"url": f"{options.url}{path}"}
    else:
        config = {
            "service": {
                "name": options.service,
                "namespace": options.namespace,
                "path": path,
                "port": options.service_port,
            }
        }
    if options.ca_bundle:
        config["caBundle"] = options.ca_bundle
    return config
