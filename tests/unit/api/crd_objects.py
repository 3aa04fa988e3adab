"""Objects made from a CRD's schema, and what such a schema refuses: for tests of all that an API server may hold.

Objects come from a seeded generator, so that one number is one object. Parts without a schema (pod templates, the
profiler's configuration) are drawn from the shapes that matter for conversion, and now and then from any JSON.
"""

from __future__ import annotations

import random
import re
from typing import Any

from armature.api.crds import crd

CLIENT = {"url": "https://localhost/convert"}
QUANTITIES = ("0", "8Gi", "500m", 4, 0, "1e3")


def schema_of(kind: str, version: str) -> dict[str, Any]:
    versions = {each["name"]: each for each in crd(kind, CLIENT)["spec"]["versions"]}
    return versions[version]["schema"]["openAPIV3Schema"]


def an_object(kind: str, version: str, seed: int, schema: dict[str, Any]) -> dict[str, Any]:
    """An object that the schema takes; the larger the seed's fill, the more of its fields are there."""
    made = _Maker(random.Random(seed))
    return {
        "apiVersion": f"nvidia.com/{version}",
        "kind": kind,
        "metadata": made.metadata(),
        **{
            part: made.value(schema["properties"][part], part)
            for part in ("spec", "status")
            if part in schema["properties"] and (part == "spec" or made.chance(0.5))
        },
    }


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.fill = rng.choice((0.15, 0.4, 0.8))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def metadata(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.word().lower(), "namespace": "n", "uid": "u", "generation": 3}
        if self.chance(0.3):
            out["labels"] = {self.word(): self.word()}
        if self.chance(0.3):
            names = ("note", "nvidia.com/dgdr-config-map-ref", "nvidia.com/dgdr-output-pvc", "a/b")
            values = ("x", '{"name":"base"}', '{"key":"k","name":"base"}', "")
            out["annotations"] = {self.rng.choice(names): self.rng.choice(values)}
        return out

    def word(self) -> str:
        return self.rng.choice(("a", "w", "Frontend", "decode", "prefill", "main", "x1", "cache", "B-2"))

    def value(self, schema: dict[str, Any], name: str) -> Any:
        if schema.get("x-kubernetes-int-or-string"):
            return self.rng.choice(QUANTITIES)
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        return getattr(self, schema["type"])(schema, name)

    def boolean(self, schema: dict[str, Any], name: str) -> bool:
        return self.chance(0.6)

    def integer(self, schema: dict[str, Any], name: str) -> int:
        low, high = schema.get("minimum", 0), schema.get("maximum", 40)
        return self.rng.randint(low, max(low, high))

    def number(self, schema: dict[str, Any], name: str) -> float:
        if "maximum" in schema:
            return self.rng.choice((0, 0.25, 1))
        return self.rng.choice((0, 1, 12.5, 300, 81920))

    def string(self, schema: dict[str, Any], name: str) -> str:
        if schema.get("format") == "date-time":
            return "2026-01-23T12:00:00Z"
        pattern = schema.get("pattern")
        words = ("a", "w", "main", "decode", "x1", "1.2.3", "Ready", "vllm")
        if pattern is not None:
            return self.rng.choice([word for word in words if re.search(pattern, word)])
        if name == "workersImage":
            return self.rng.choice(("nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.2.0", "my/image:1", "i"))
        if name in ("state", "phase", "componentType", "subComponentType", "frontendSidecar"):
            known = (
                "Ready",
                "DeploymentDeleted",
                "worker",
                "prefill",
                "frontend",
                "router",
                "sidecar-frontend",
            )
            return self.rng.choice((*known, ""))
        return self.rng.choice((*words, *(("", "My_Worker", "ü b") if not schema.get("minLength") else ())))

    def array(self, schema: dict[str, Any], name: str) -> list[Any]:
        low = schema.get("minItems", 0)
        items = [
            self.value(schema["items"], name)
            for _ in range(self.rng.randint(low, max(low, self.rng.choice((1, 3)))))
        ]
        keys = schema.get("x-kubernetes-list-map-keys", [])
        if keys:
            return list({tuple(item[key] for key in keys): item for item in items}.values())
        return list(dict.fromkeys(items)) if schema.get("x-kubernetes-list-type") == "set" else items

    def object(self, schema: dict[str, Any], name: str) -> dict[str, Any]:
        if "additionalProperties" in schema:
            keys = (
                self.rng.choice((self.word(), "My_Worker", "my-worker", "a_b", "é", "")) for _ in range(3)
            )
            return {key: self.value(schema["additionalProperties"], name) for key in keys if self.chance(0.7)}
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return self.open(schema, name)
        required = schema.get("required", [])
        return {
            key: self.value(inner, key)
            for key, inner in schema.get("properties", {}).items()
            if key in required or self.chance(self.fill)
        }

    def open(self, schema: dict[str, Any], name: str) -> dict[str, Any]:
        if schema.get("x-kubernetes-embedded-resource"):
            version = self.rng.choice(("nvidia.com/v1beta1", "nvidia.com/v1alpha1"))
            return {"apiVersion": version, "kind": "DynamoGraphDeployment", **self.json_object()}
        named = {"name": self.word()} if "name" in schema.get("required", []) else {}
        if name in ("podTemplate", "podTemplateSpec"):
            return {} if self.chance(0.1) else self.pod_template()
        if name == "extraPodSpec":
            pod = self.pod()
            if self.chance(0.8):
                pod["mainContainer"] = self.container()
            return pod
        if name == "config":
            return self.profiler_config()
        return {**self.json_object(), **named}

    def pod_template(self) -> dict[str, Any]:
        out: dict[str, Any] = {"spec": self.pod()} if self.chance(0.9) else {}
        if self.chance(0.4):
            out["metadata"] = self.rng.choice(
                (
                    {"labels": {"a": "1"}},
                    {"annotations": {"a": "1"}, "name": "x"},
                    {"labels": {}},
                    {"labels": {"a": 1}},
                )
            )
        if self.chance(0.1):
            out["other"] = self.json()
        return out

    def pod(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self.chance(0.85):
            out["containers"] = [self.container() for _ in range(self.rng.randint(0, 3))]
        if self.chance(0.5):
            out["volumes"] = [self.volume() for _ in range(self.rng.randint(0, 3))]
        if self.chance(0.2):
            out["initContainers"] = [self.container()]
        if self.chance(0.3):
            out["nodeSelector"] = {"zone": "a"}
        for key in ("containers", "volumes"):
            if self.chance(0.03):
                out[key] = self.json()
        return out

    def container(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.rng.choice(("main", "main", "side", "sidecar-frontend"))}
        options: dict[str, Any] = {
            "image": "i:1",
            "args": ["--model", "m"],
            "env": [{"name": self.word(), "value": self.word()} for _ in range(2)],
            "envFrom": [
                self.rng.choice(
                    (
                        {"secretRef": {"name": "hf"}},
                        {"secretRef": {"name": "s", "optional": True}},
                        {"configMapRef": {}},
                    )
                )
            ],
            "resources": self.rng.choice(
                (
                    {"limits": {"nvidia.com/gpu": "2", "cpu": "4"}, "requests": {"rdma/ib": "1"}},
                    {"limits": {"nvidia.com/gpu": 2}},
                    {"limits": {}, "claims": [{"name": "c"}], "more": 1},
                )
            ),
            "volumeMounts": [
                {"name": self.rng.choice(("cache", "shm")), "mountPath": path}
                | ({"readOnly": True} if self.chance(0.3) else {})
                | ({"subPath": "p"} if self.chance(0.2) else {})
                for path in ("/c", "/d")[: self.rng.randint(0, 2)]
            ],
            "livenessProbe": {"periodSeconds": 5},
            "ports": [{"containerPort": 1}],
        }
        for key, value in options.items():
            if self.chance(0.4):
                out[key] = value if not self.chance(0.03) else self.json()
        return out

    def volume(self) -> dict[str, Any]:
        name = self.rng.choice(("cache", "shm", "more"))
        claim = {"persistentVolumeClaim": {"claimName": self.rng.choice((name, "claim"))}}
        return {"name": name, **self.rng.choice((claim, claim, {"emptyDir": {}}))}

    def profiler_config(self) -> dict[str, Any]:
        leaves: dict[str, Any] = {
            "sla": {"isl": 3000, "osl": "150", "ttft": 500.0, "itl": 30, "e2e_latency": 5.5},
            "hardware": {
                "numGpusPerNode": 8,
                "gpu_sku": "h200_sxm",
                "gpuModel": "NVIDIA-H200",
                "totalGpus": 2.5,
            },
            "sweep": {
                "useAiConfigurator": True,
                "use_ai_configurator": False,
                "aicSystem": "b200_sxm",
                "other": 1,
            },
            "deployment": {
                "modelCache": {"pvcName": "p", "pvcPath": "d", "mountPath": "/m", "pvcModelPath": "e"}
            },
            "planner": {"enabled": True},
            "engine": {"backend": "vllm", "config": self.json()},
        }
        out: dict[str, Any] = {}
        for key, value in leaves.items():
            if self.chance(0.4):
                out[key] = {k: v for k, v in value.items() if self.chance(0.7)}
        if self.chance(0.1):
            out[self.rng.choice(("planner", "sla", "extra"))] = self.json()
        return out

    def json_object(self) -> dict[str, Any]:
        return {self.word(): self.json() for _ in range(self.rng.randint(0, 2))}

    def json(self, depth: int = 2) -> Any:
        flat = ("x", "", 1, 0, 2.5, True, False, "é")
        if depth == 0 or self.chance(0.5):
            return self.rng.choice(flat)
        if self.chance(0.5):
            return {self.word(): self.json(depth - 1) for _ in range(self.rng.randint(0, 2))}
        return [self.json(depth - 1) for _ in range(self.rng.randint(0, 2))]


def refusals(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """What an API server's validation of the schema (CEL apart) would refuse, and what it would prune."""
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, int | str) and not isinstance(value, bool)
        return [] if fits else [f"{path}: {value!r} is no int or string"]
    kinds = {
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": int | float,
        "array": list,
        "object": dict,
    }
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{path}: {value!r} is no {kind}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value!r} not in enum")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{path}: {value!r} against pattern")
    if kind in ("integer", "number") and not schema.get("minimum", value) <= value <= schema.get(
        "maximum", value
    ):
        found.append(f"{path}: {value!r} out of range")
    if schema.get("format") == "int32" and abs(value) >= 2**31:
        found.append(f"{path}: {value!r} is no int32")
    if isinstance(value, str | list) and not (
        schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    ):
        found.append(f"{path}: {value!r} has the wrong length")
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += refusals(schema["items"], item, f"{path}[{index}]")
    if isinstance(value, dict):
        found += _object_refusals(schema, value, path)
    return found


def _object_refusals(schema: dict[str, Any], value: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}.{name}: required" for name in schema.get("required", []) if name not in value]
    if schema.get("x-kubernetes-embedded-resource"):
        found += [f"{path}.{name}: required" for name in ("apiVersion", "kind") if name not in value]
    for key, item in value.items():
        if key in schema.get("properties", {}):
            if key != "metadata":
                found += refusals(schema["properties"][key], item, f"{path}.{key}")
        elif "additionalProperties" in schema:
            found += refusals(schema["additionalProperties"], item, f"{path}.{key}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.append(f"{path}.{key}: pruned")
    return found
