"""Reviews as the API server sends them, and what came of them."""

from __future__ import annotations

import base64
import json
from typing import Any

from armature.operator.admission.policy import Policy
from armature.operator.admission.review import answer

REQUEST, GRAPH = "DynamoGraphDeploymentRequest", "DynamoGraphDeployment"
OPERATOR = "system:serviceaccount:dynamo-system:dynamo-operator"
EVERYTHING = Policy()


def obj(spec: Any, *, kind=REQUEST, version="v1beta1", status=None, **metadata: Any) -> dict[str, Any]:
    whole = {
        "apiVersion": f"nvidia.com/{version}",
        "kind": kind,
        "metadata": {"name": "qwen", "namespace": "team", **metadata},
        "spec": spec,
    }
    return whole | ({"status": status} if status else {})


def review_of(new: Any, old: Any = None, *, operation: str = "", user: str = "alice", **more: Any):
    whole = new or old
    group, version = whole["apiVersion"].split("/")
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": group, "version": version, "kind": whole["kind"]},
            "operation": operation or ("UPDATE" if old else "CREATE"),
            "namespace": "team",
            "name": whole.get("metadata", {}).get("name", ""),
            "userInfo": {"username": user},
            "object": new,
            "oldObject": old,
            **more,
        },
    }


def validate(new, old=None, *, policy=EVERYTHING, **more):
    review = review_of(new, old, **more)
    return answer("validate", (new or old)["kind"], review, policy).review["response"]


def messages(new, old=None, **more) -> list[str]:
    """The refusal's lines; none where it is allowed."""
    response = validate(new, old, **more)
    assert response["allowed"] == ("status" not in response)
    return response["status"]["message"].split("\n") if "status" in response else []


def patched(new, old=None, *, policy=EVERYTHING, **more) -> Any:
    """The object after the mutating webhook."""
    review = review_of(new, old, **more)
    response = answer("mutate", new["kind"], review, policy).review["response"]
    assert response["allowed"]
    whole = json.loads(json.dumps(new))
    for step in json.loads(base64.b64decode(response["patch"])) if "patch" in response else []:
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
        at = whole
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at[part]
        assert (last in at) == (step["op"] == "replace")
        at[last] = step["value"]
    return whole
