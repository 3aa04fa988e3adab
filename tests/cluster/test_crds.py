"""Our CRDs in a real API server: accepted whole, they default, check, keep and convert with no operator there."""

from __future__ import annotations

import base64
import datetime
import http.server
import json
import ssl
import threading
from pathlib import Path

import pytest
import yaml

from armature.api import convert_review
from armature.api.convert.lens import ALPHA_REMAINDER, BETA_REMAINDER
from armature.api.crds import all_crds, crd_kinds
from armature.api.parse import without_nulls

CONFORMANCE = Path(__file__).parents[1] / "data" / "conformance"
NAMES = [crd["metadata"]["name"] for crd in all_crds()]
ALPHA, BETA = "nvidia.com/v1alpha1", "nvidia.com/v1beta1"
REQUEST, GRAPH = "dynamographdeploymentrequests", "dynamographdeployments"


class Webhook(http.server.BaseHTTPRequestHandler):
    """The conversion webhook: `convert_review` behind TLS."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(convert_review(review)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def apply_crds(testbed, client_config=None):
    testbed.kubectl(
        *("apply", "--server-side", "--force-conflicts", "--filename=-"),
        stdin=yaml.safe_dump_all(all_crds(client_config)),
    )
    testbed.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *NAMES)


@pytest.fixture(scope="module", autouse=True)
def webhook(testbed, tmp_path_factory):
    """All CRDs, with a conversion webhook that answers on this machine; without one again afterwards."""
    pair = testbed.authority.server("conversion", ["127.0.0.1"], datetime.datetime.now(datetime.UTC))
    files = tmp_path_factory.mktemp("webhook")
    (files / "tls.crt").write_bytes(pair.certificate_pem)
    (files / "tls.key").write_bytes(pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "tls.crt", files / "tls.key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        authority = base64.b64encode(testbed.authority.pair.certificate_pem).decode()
        url = f"https://127.0.0.1:{server.server_port}/convert"
        apply_crds(testbed, {"url": url, "caBundle": authority})
        testbed.wait_for(lambda: _converts(testbed), "the API server to ask the webhook")
        yield
        server.shutdown()
    apply_crds(testbed)


def _converts(testbed):
    """Whether both versions are served and created objects come out in the other."""
    probe = manifest("DynamoGraphDeployment", {"services": {"W": {}}}, ALPHA, "probe")
    said = testbed.kubectl(
        "apply", "--filename=-", "--namespace=default", stdin=json.dumps(probe), check=False
    )
    if "created" not in said and "unchanged" not in said and "configured" not in said:
        return False
    there = testbed.kubectl(
        "get", f"{GRAPH}.v1beta1.nvidia.com/probe", "--namespace=default", "-o=json", check=False
    )
    testbed.kubectl("delete", GRAPH, "probe", "--namespace=default", "--ignore-not-found")
    return '"components"' in there


def manifest(kind, spec, version=BETA, name="x"):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def cluster(testbed, namespace):
    return Cluster(testbed, namespace)


class Cluster:
    """kubectl in the test's own namespace."""

    def __init__(self, testbed, namespace):
        self.testbed, self.inside = testbed, f"--namespace={namespace}"

    def apply(self, document, *options, check=True):
        text = json.dumps(document)
        return self.testbed.kubectl("apply", "--filename=-", self.inside, *options, stdin=text, check=check)

    def get(self, resource, name="x", version="v1beta1"):
        return self.testbed.get(f"{resource}.{version}.nvidia.com", name, self.inside)

    def patch(self, resource, change, *options, name="x", version="v1beta1", check=True):
        what = (f"{resource}.{version}.nvidia.com", name, "--type=merge", f"--patch={json.dumps(change)}")
        return self.testbed.kubectl("patch", self.inside, *what, *options, check=check)

    def status(self, resource, status, **more):
        return self.patch(resource, {"status": status}, "--subresource=status", **more)


def bare(value):
    """Spec and status without nulls, and the annotations that users wrote."""
    own = ("kubectl.kubernetes.io/last-applied-configuration", ALPHA_REMAINDER, BETA_REMAINDER)
    annotations = value["metadata"].get("annotations", {})
    kept = {key: item for key, item in annotations.items() if key not in own}
    return without_nulls(
        {key: value[key] for key in ("spec", "status") if key in value} | {"annotations": kept}
    )


def test_every_crd_is_established_and_structural(testbed):
    """OP-02. An API server that holds a schema for not structural, or a rule for too costly, says so here."""
    for name in NAMES:
        found = testbed.get("crd", name)
        conditions = {item["type"]: item["status"] for item in found["status"]["conditions"]}
        assert conditions == {"Established": "True", "NamesAccepted": "True"}, name
        assert [version["name"] for version in found["spec"]["versions"] if version["served"]]
    listed = testbed.kubectl("api-resources", "--categories=dynamo", "--output=name").split()
    assert sorted(listed) == sorted(NAMES)
    assert len(listed) == len(crd_kinds())


def test_they_are_applied_again_without_a_change(testbed):
    before = [testbed.get("crd", name)["metadata"]["generation"] for name in NAMES]
    document = yaml.safe_dump_all(
        [{**crd, "spec": testbed.get("crd", crd["metadata"]["name"])["spec"]} for crd in all_crds()]
    )
    testbed.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=document)
    assert [testbed.get("crd", name)["metadata"]["generation"] for name in NAMES] == before


def test_the_smallest_request_has_its_defaults(cluster):
    """DGDR-03, DGDR-05 to 07, DGDR-09."""
    cluster.apply(manifest("DynamoGraphDeploymentRequest", {"model": "m", "workload": {}, "modelCache": {}}))
    spec = cluster.get(REQUEST)["spec"]
    assert (spec["backend"], spec["searchStrategy"], spec["autoApply"]) == ("auto", "rapid", True)
    assert spec["workload"] == {"isl": 4000, "osl": 1000}
    assert spec["modelCache"] == {"pvcMountPath": "/opt/model-cache"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.model: Required value"),
        ({"model": ""}, "spec.model in body should be at least 1 chars long"),
        ({"model": "m", "backend": "any"}, 'spec.backend: Unsupported value: "any"'),
        ({"model": "m", "workload": {"isl": "4k"}}, "spec.workload.isl"),
        ({"model": "m", "modle": "x"}, 'unknown field "spec.modle"'),
        ({"model": "m", "overrides": {"dgd": {"spec": {}}}}, "spec.overrides.dgd.apiVersion: Required value"),
    ],
)
def test_a_request_that_is_wrong_is_refused(cluster, spec, said):
    answer = cluster.apply(manifest("DynamoGraphDeploymentRequest", spec), check=False)
    assert said in answer


def test_an_unknown_field_is_a_warning_where_the_client_asks_for_no_more(cluster):
    document = manifest("DynamoGraphDeploymentRequest", {"model": "m", "modle": "x"})
    assert 'Warning: unknown field "spec.modle"' in cluster.apply(document, "--validate=warn", check=False)
    assert "modle" not in cluster.get(REQUEST)["spec"]


def test_our_own_fields_are_kept(cluster):
    """C-13, DGDR-20; traces and speculation."""
    spec = {
        "model": "m",
        "workload": {"traceRef": {"configMap": {"name": "c", "key": "k"}}},
        "features": {"speculation": {"nextn": 1, "acceptanceRate": 0.8}, "planner": {"free": {"form": 1}}},
    }
    cluster.apply(manifest("DynamoGraphDeploymentRequest", spec))
    point = {
        "config": {"any": ["thing"]},
        "backend": "vllm",
        "parallelization": "2×tp2",
        "throughput": 4000.5,
        "gpus": 4,
        "meetsSla": True,
        "ttft": 230,
        "ttftLow": 143,
        "ttftHigh": 368,
        "itl": 33.4,
        "itlLow": 23.2,
        "itlHigh": 46.7,
        "source": "calibrated",
    }
    times = {"startTime": "2026-01-23T12:00:00Z", "completionTime": "2026-01-23T12:00:35Z"}
    results = {
        "pareto": [point, {"config": {}, "parallelization": 8}],
        "selectedConfig": {"kind": "X"},
        **times,
    }
    cluster.status(REQUEST, {"phase": "Ready", "profilingResults": results})
    found = cluster.get(REQUEST)
    assert found["status"]["profilingResults"] == results
    assert found["spec"]["features"] == spec["features"]
    assert found["spec"]["workload"]["traceRef"] == spec["workload"]["traceRef"]


FORBIDDEN = (
    'spec: Forbidden: updates are forbidden while the resource is in phase "{}"; delete and recreate the resource to '
    "change its spec"
)


@pytest.mark.parametrize("phase", ["Profiling", "Ready", "Deploying", "Deployed"])
def test_a_spec_stays_as_it_is_once_profiling_has_begun(cluster, phase):
    """VAL-07, with no webhook of the operator there; a client of v1alpha1 meets the same."""
    cluster.apply(
        manifest("DynamoGraphDeploymentRequest", {"model": "m", "image": "i:1", "sla": {"ttft": 500}})
    )
    cluster.patch(REQUEST, {"spec": {"sla": {"ttft": 400}}})  # C-19: a pending request may change
    cluster.status(REQUEST, {"phase": phase, "dgdName": "g"})
    for change in (
        {"sla": {"ttft": 300}},
        {"sla": {"itl": 3}},
        {"sla": None},
        {"autoApply": False},
        {"runtimeVersionOverride": "1.2.0"},
        {"overrides": {"profilingJob": {"a": 1}}},
    ):
        answer = cluster.patch(REQUEST, {"spec": change}, check=False)
        assert FORBIDDEN.format(phase) in answer, change
    state = "Ready" if phase == "Deployed" else phase
    assert FORBIDDEN.format(state) in cluster.patch(
        REQUEST, {"spec": {"model": "other"}}, version="v1alpha1", check=False
    )
    cluster.patch(REQUEST, {"metadata": {"labels": {"still": "free"}}})
    cluster.status(REQUEST, {"phase": "Failed"})


def test_what_may_change_before_the_graph_is_applied(cluster):
    """autoApply: false: another runtime version while profiling or ready; and the go-ahead, once ready."""
    cluster.apply(manifest("DynamoGraphDeploymentRequest", {"model": "m", "autoApply": False}))
    cluster.status(REQUEST, {"phase": "Profiling"})
    cluster.patch(REQUEST, {"spec": {"runtimeVersionOverride": "1.2.0"}})
    assert FORBIDDEN.format("Profiling") in cluster.patch(REQUEST, {"spec": {"autoApply": True}}, check=False)
    cluster.status(REQUEST, {"phase": "Ready"})
    both = {"runtimeVersionOverride": "1.3.0", "model": "n"}
    assert FORBIDDEN.format("Ready") in cluster.patch(REQUEST, {"spec": both}, check=False)
    cluster.patch(REQUEST, {"spec": {"runtimeVersionOverride": "1.3.0", "autoApply": True}})
    assert FORBIDDEN.format("Ready") in cluster.patch(REQUEST, {"spec": {"autoApply": False}}, check=False)


def test_rules_of_graphs_models_and_checkpoints(cluster):
    main = {"spec": {"containers": [{"name": "main", "image": "i"}]}}
    worker = {"name": "W", "type": "worker", "podTemplate": main, "minAvailable": 1}
    graph = manifest("DynamoGraphDeployment", {"components": [worker]})
    twice = manifest("DynamoGraphDeployment", {"components": [worker, {**worker, "name": "w"}]})
    assert "component names must be unique case-insensitively" in cluster.apply(twice, check=False)
    restart = manifest("DynamoGraphDeployment", {"components": [worker], "restart": {"id": "1"}})
    assert "spec.restart must be unset on create" in cluster.apply(restart, check=False)
    cluster.apply(graph)
    changed = manifest("DynamoGraphDeployment", {"components": [{**worker, "type": "decode"}]})
    assert "type is immutable after it is set" in cluster.apply(changed, check=False)
    topology = {"spec": {"topologyConstraint": {"clusterTopologyName": "t"}}}
    assert "topologyConstraint is immutable" in cluster.patch(GRAPH, topology, check=False)
    cluster.patch(GRAPH, {"spec": {"backendFramework": "vllm"}})
    backend = {"spec": {"backendFramework": "sglang"}}
    assert "backendFramework is immutable" in cluster.patch(GRAPH, backend, check=False)
    model = manifest("DynamoModel", {"modelName": "a", "baseModelName": "b"}, ALPHA)
    cluster.apply(model)
    renamed = {"spec": {"baseModelName": "c"}}
    assert "spec.baseModelName is immutable" in cluster.patch("dynamomodels", renamed, check=False)
    identity = {"identity": {"model": "m", "backendFramework": "vllm"}, "job": {"podTemplateSpec": main}}
    cluster.apply(manifest("DynamoCheckpoint", identity, ALPHA))
    other = {"spec": {"identity": {"model": "n"}}}
    answer = cluster.patch("dynamocheckpoints", other, version="v1alpha1", check=False)
    assert "spec.identity is immutable after creation" in answer


def conformance():
    for path in sorted(CONFORMANCE.iterdir()):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            if document and document["apiVersion"] in (ALPHA, BETA):
                yield pytest.param(document, id=f"{path.stem}-{number}")


REFUSED = {  # dynamo-operator.md 6.1: the field's own quirk
    "deploy_operator_config_samples_nvidia.com_v1alpha1_dynamocheckpoint-0": 'unknown field "spec.identity.framework"',
}


def of_one_version(document):
    return document["kind"] == "DynamoCheckpoint"


@pytest.mark.parametrize("document", list(conformance()))
def test_a_conformance_manifest_is_kept_and_reads_in_both_versions(cluster, document, request):
    """Nothing is lost but nulls; defaults are added."""
    said = REFUSED.get(request.node.callspec.id)
    if said is not None:
        assert said in cluster.apply(document, check=False)
        return
    cluster.apply(document)
    resource, name = f"{document['kind'].lower()}s", document["metadata"]["name"]
    version = document["apiVersion"].rsplit("/", 1)[1]
    back = cluster.get(resource, name, version)
    assert lacking(without_nulls(document["spec"]), back["spec"]) == []
    if of_one_version(document):
        return
    other = "v1beta1" if version == "v1alpha1" else "v1alpha1"
    read = cluster.get(resource, name, other)
    text = json.dumps(read)
    cluster.testbed.kubectl("replace", cluster.inside, "--filename=-", stdin=text)
    assert bare(cluster.get(resource, name, version)) == bare(back), (
        "written back as it was read in the other version"
    )


def lacking(wanted, found, path="spec"):
    """Where `found` does not say what `wanted` says."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [gap for key, item in wanted.items() for gap in lacking(item, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [gap for at, item in enumerate(wanted) for gap in lacking(item, found[at], f"{path}[{at}]")]
    return [] if wanted == found else [path]


def test_a_client_of_v1alpha1_changes_one_field_and_no_other(cluster):
    """It reads a whole v1beta1 graph with fields it cannot say, changes the replicas, and writes."""
    main = {
        "name": "main",
        "image": "i",
        "volumeMounts": [{"name": "v", "mountPath": "/m", "readOnly": True}],
    }
    pod = {"containers": [main], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}
    components = [
        {"name": "Frontend", "type": "frontend", "podTemplate": {"spec": {"containers": [{"name": "main"}]}}},
        {"name": "W", "type": "decode", "replicas": 2, "minAvailable": 1, "podTemplate": {"spec": pod}},
        {"name": "A", "runtimeVersionOverride": "1.2.0", "compilationCache": {"pvcName": "k"}},
    ]
    cluster.apply(manifest("DynamoGraphDeployment", {"components": components}))
    before = cluster.get(GRAPH)
    read = cluster.get(GRAPH, version="v1alpha1")
    assert BETA_REMAINDER in read["metadata"]["annotations"]
    read["spec"]["services"]["W"]["replicas"] = 7
    cluster.testbed.kubectl("replace", cluster.inside, "--filename=-", stdin=json.dumps(read))
    after = cluster.get(GRAPH)
    before["spec"]["components"][1]["replicas"] = 7
    assert bare(after) == bare(before)
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1


def test_reading_and_writing_back_in_v1alpha1_is_no_change(testbed, namespace):
    """No new generation, no new resourceVersion: nobody is woken for it. By HTTP, since kubectl adds annotations."""
    path = f"/apis/{{}}/namespaces/{namespace}/{REQUEST}"
    spec = {
        "model": "m",
        "sla": {"ttft": 5},
        "hardware": {"rdma": True},
        "features": {"mocker": {"enabled": True}},
    }
    with testbed.client() as client:
        made = client.post(path.format(BETA), json=manifest("DynamoGraphDeploymentRequest", spec)).json()
        for _ in range(2):
            read = client.get(f"{path.format(ALPHA)}/x").json()
            assert read["apiVersion"] == ALPHA
            assert client.put(f"{path.format(ALPHA)}/x", json=read).status_code == 200
        after = client.get(f"{path.format(BETA)}/x").json()
    assert after == made


def test_columns_short_names_and_scale(cluster):
    """SA-01, SA-05, A1-21; what `kubectl get` shows of a request."""
    kubectl, inside = cluster.testbed.kubectl, cluster.inside
    cluster.apply(manifest("DynamoGraphDeploymentRequest", {"model": "m"}))
    when = "2026-01-23T12:00:00Z"
    done = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Deployed",
        "message": "healthy",
        "lastTransitionTime": when,
    }
    cluster.status(REQUEST, {"phase": "Deployed", "dgdName": "g", "conditions": [done]})
    head, row = (line.split() for line in kubectl("get", "dgdr", inside).splitlines())
    assert head == ["NAME", "MODEL", "BACKEND", "PHASE", "PROFILING", "REASON", "MESSAGE", "DGD", "AGE"]
    assert row[:-1] == ["x", "m", "auto", "Deployed", "Deployed", "healthy", "g"]
    spec = {"dgdRef": {"name": "g", "componentName": "decode"}, "replicas": 2}
    cluster.apply(manifest("DynamoGraphDeploymentScalingAdapter", spec))
    kubectl("scale", "dgdsa/x", "--replicas=5", inside)
    adapters = "dynamographdeploymentscalingadapters"
    assert cluster.get(adapters)["spec"]["replicas"] == 5
    assert cluster.get(adapters, version="v1alpha1")["spec"]["dgdRef"] == {
        "name": "g",
        "serviceName": "decode",
    }
    cluster.status(adapters, {"replicas": 4, "selector": "a=b"})
    scale = json.loads(kubectl("get", "dgdsa", "x", inside, "--subresource=scale", "-o=json"))
    assert (scale["status"]["replicas"], scale["status"]["selector"]) == (4, "a=b")
    for short in ("dgd", "dcd", "dm", "dckpt", "dwm"):
        kubectl("get", short, inside)
    explained = kubectl("explain", "dgdr.spec.sla.ttft", "--api-version=nvidia.com/v1beta1")
    assert "ttft <number>" in explained
