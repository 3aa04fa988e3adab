"""The profiling Job: what it may do, what it is given, and that overrides come last (PROF-02 to 04, GEN-09, MC-03)."""

from __future__ import annotations

import msgspec
from request_world import request

from armature.hardware.catalog import GPUS
from armature.hardware.inventory import Inventory, Pool
from armature.hardware.inventory_json import inventory_from_json
from armature.operator.names import job_name
from armature.operator.request.job import profiling_objects
from armature.operator.settings import Settings

SETTINGS = Settings(image="armature:1", pull_secrets=("nvcr",))


def objects(found=None, **spec):
    made = {obj["kind"]: obj for obj in profiling_objects(request(**spec), found, SETTINGS)}
    pod = made["Job"]["spec"]["template"]["spec"]
    return made, made["Job"], pod, pod["containers"][0]


def option(container, name):
    args = container["args"]
    return args[args.index(name) + 1] if name in args else None


def test_job_fails_once_and_runs_the_operators_image():
    _, job, pod, container = objects(image="nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.1.1")
    assert job["spec"]["backoffLimit"] == 0  # LIFE-07
    assert pod["restartPolicy"] == "Never"
    assert container["image"] == "armature:1"
    assert container["command"] == ["python", "-m", "armature", "profile"]
    assert pod["imagePullSecrets"] == [{"name": "nvcr"}]
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_job_may_write_its_own_config_map_and_nothing_else():
    made, _, pod, container = objects()
    assert made["Role"]["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["dgdr-output-chat"],
            "verbs": ["get", "patch", "update"],
        }
    ]
    assert made["RoleBinding"]["subjects"][0]["name"] == pod["serviceAccountName"] == "dgdr-profiling-job"
    assert option(container, "--output-configmap") == made["ConfigMap"]["metadata"]["name"]


def test_what_belongs_to_the_request_goes_with_it_and_the_shared_account_does_not():
    made, *_ = objects()
    for kind in ("Role", "RoleBinding", "ConfigMap", "Job"):
        assert made[kind]["metadata"]["ownerReferences"][0]["uid"] == "u-1"
    assert "ownerReferences" not in made["ServiceAccount"]["metadata"]


def test_every_label_family_is_on_job_and_pods():  # C-56, LIFE-13
    _, job, _, _ = objects()
    wanted = {
        "app": "dynamo-profiler",
        "dgdr": "chat",
        "nvidia.com/dgdr-name": "chat",
        "dgdr.nvidia.com/name": "chat",
        "dgdr.nvidia.com/namespace": "ml",
        "nvidia.com/managed-by": "dynamo-operator",
    }
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == wanted


def test_spec_and_inventory_survive_the_command_line():
    found = Inventory(
        (Pool(GPUS["h200_sxm"].with_vram(100 << 30), 24, 8, 4, True, "rdma/ib", "NVIDIA-H200"),), "n"
    )
    _, _, _, container = objects(found, sla={"ttft": 2000.0})
    assert msgspec.json.decode(option(container, "--config"))["sla"] == {"ttft": 2000.0}
    assert inventory_from_json(option(container, "--inventory")) == found


def test_token_is_taken_where_its_secret_exists():  # MC-10
    _, _, _, container = objects()
    token = next(env for env in container["env"] if env["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {
        "name": "hf-token-secret",
        "key": "HF_TOKEN",
        "optional": True,
    }


def test_model_cache_is_mounted_read_only_where_the_request_says():  # MC-03
    cache = {"pvcName": "models", "pvcModelPath": "hub/m", "pvcMountPath": "/cache/"}
    _, _, pod, container = objects(modelCache=cache)
    assert {"name": "model-cache", "mountPath": "/cache/", "readOnly": True} in container["volumeMounts"]
    claim = {"claimName": "models", "readOnly": True}
    assert {"name": "model-cache", "persistentVolumeClaim": claim} in pod["volumes"]
    assert option(container, "--model-cache") == "/cache/hub/m"
    _, _, _, default = objects(modelCache={"pvcName": "models"})
    assert option(default, "--model-cache") == "/opt/model-cache"
    _, _, _, absolute = objects(modelCache=cache | {"pvcModelPath": "/cache/hub/m"})
    assert option(absolute, "--model-cache") == "/cache/hub/m"


def test_trace_is_mounted_from_where_it_lies():
    _, _, pod, container = objects(workload={"traceRef": {"configMap": {"name": "load", "key": "day.jsonl"}}})
    assert option(container, "--trace") == "/trace/day.jsonl"
    assert {"name": "trace", "configMap": {"name": "load"}} in pod["volumes"]
    _, _, pod, container = objects(workload={"traceRef": {"pvc": {"name": "logs", "path": "a/b.csv"}}})
    assert option(container, "--trace") == "/trace/a/b.csv"


def test_overrides_come_last_and_an_empty_list_of_containers_is_a_placeholder():  # DGDR-15
    override = {
        "backoffLimit": 2,
        "template": {"spec": {"containers": [], "tolerations": [{"key": "gpu", "operator": "Exists"}]}},
    }
    _, job, pod, container = objects(overrides={"profilingJob": override})
    assert job["spec"]["backoffLimit"] == 2
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert container["image"] == "armature:1"


def test_name_of_a_long_request_is_still_a_label():
    name = job_name("a" * 63)
    assert len(name) <= 63
    assert name != job_name("a" * 62 + "b")
