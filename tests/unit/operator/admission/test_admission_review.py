"""AdmissionReviews as such: what is none is told so, and no manifest, however mangled, is more than refused."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import msgspec
import pytest
import yaml
from reviews import EVERYTHING, REQUEST, obj, review_of

from armature.errors import InvalidInput
from armature.operator.admission.kinds import ADMITTED, mutate_paths, validate_paths
from armature.operator.admission.review import INVALID, answer

CONFORMANCE = Path(__file__).parents[3] / "data" / "conformance"
SOUND = obj({"model": "Qwen/Qwen3-0.6B"})


def test_paths_are_the_fields():
    """WH-01, §3.9."""
    paths = {kind: (*validate_paths(one), *mutate_paths(one)) for kind, one in ADMITTED.items()}
    assert "/validate-nvidia-com-v1alpha1-dynamocomponentdeployment" in paths["DynamoComponentDeployment"]
    assert "/validate-nvidia-com-v1alpha1-dynamomodel" in paths["DynamoModel"]
    assert paths["DynamoGraphDeployment"][0] == "/validate-nvidia-com-v1alpha1-dynamographdeployment"
    assert "/mutate-nvidia-com-v1alpha1-dynamographdeployment" in paths["DynamoGraphDeployment"]
    assert "/mutate/nvidia.com/v1beta1/dynamographdeployments" in paths["DynamoGraphDeployment"]
    assert paths[REQUEST][0] == "/validate-nvidia-com-v1beta1-dynamographdeploymentrequest"
    assert "/mutate-nvidia-com-v1beta1-dynamographdeploymentrequest" in paths[REQUEST]
    every = [path for listed in paths.values() for path in listed]
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda review: [], "body: must be an AdmissionReview object"),
        (
            lambda review: {**review, "apiVersion": "admission.k8s.io/v1beta1"},
            "apiVersion: must be admission",
        ),
        (lambda review: {**review, "kind": "ConversionReview"}, "kind: must be AdmissionReview"),
        (lambda review: {**review, "request": None}, "request: must be a mapping"),
        (lambda review: with_request(review, uid=""), "request.uid: must be a string"),
        (lambda review: with_request(review, operation="PUT"), "request.operation: unknown operation"),
        (lambda review: with_request(review, operation=["CREATE"]), "request.operation: must be a string"),
        (lambda review: with_request(review, namespace=3), "request.namespace: must be a string"),
        (
            lambda review: with_request(review, kind=None),
            "request.kind: must be DynamoGraphDeploymentRequest",
        ),
        (
            lambda review: with_request(review, kind={**review["request"]["kind"], "version": "v2"}),
            "request.kind.version: unknown version (got 'v2'); one of v1beta1, v1alpha1",
        ),
        (lambda review: with_request(review, object=None), "request.object: must be the object"),
        (
            lambda review: with_request(review, operation="UPDATE", oldObject=[]),
            "request.oldObject: must be the object",
        ),
    ],
)
def test_what_is_no_review_is_told_so(broken, said):
    with pytest.raises(InvalidInput) as caught:
        answer("validate", REQUEST, broken(review_of(SOUND)), EVERYTHING)
    assert said in str(caught.value)


def with_request(review, **changed):
    return {**review, "request": {**review["request"], **changed}}


def test_all_that_is_wrong_with_a_review_is_told_at_once():
    with pytest.raises(InvalidInput) as caught:
        answer("validate", REQUEST, {"request": {"operation": "CREATE"}}, EVERYTHING)
    assert len(caught.value.problems) == 5


def test_an_object_nested_beyond_reading_is_refused():
    deep: dict = {}
    for _ in range(3000):
        deep = {"a": deep}
    for verb in ("validate", "mutate"):
        review = review_of(obj({"model": "m", "overrides": {"profilingJob": deep}}))
        answered = answer(verb, REQUEST, review, EVERYTHING)
        assert "nested too deeply" in answered.review["response"]["status"]["message"]


def documents():
    for path in sorted(CONFORMANCE.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document is not None and document["kind"] in ADMITTED:
                yield document


_VALUES = (
    None,
    True,
    -1,
    0,
    3.5,
    2**70,
    "",
    "x",
    "ｘ\n\0",
    [],
    {},
    [None],
    {"a": {"b": [1]}},
    "9" * 200,
    [[]],
)


def mutated(rng, value):
    """One place of a manifest changed: gone, of another type, renamed, doubled."""
    spots: list = []

    def collect(inner):
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            spots.append((inner, key))
            if isinstance(inner[key], dict | list):
                collect(inner[key])

    collect(value)
    parent, key = rng.choice(spots)
    match rng.randrange(5):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[f"{key}x"] = parent.pop(key)
        case 2 if isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        case _:
            parent[key] = copy.deepcopy(rng.choice(_VALUES))
    return value


def test_two_thousand_mangled_manifests():
    """Issue 5: no exception, and each refusal says in clear lines what is wrong where."""
    rng = random.Random(5)
    sources = list(documents())
    kinds, refused = set(), 0
    for number in range(2000):
        source = rng.choice(sources)
        kind, version = source["kind"], source["apiVersion"].split("/")[1]
        manifest = copy.deepcopy(source)
        for _ in range(rng.randint(1, 4)):
            manifest = mutated(rng, manifest)
        old = copy.deepcopy(source) if number % 3 == 0 else None
        if old is not None and rng.random() < 0.5:
            old["status"] = {"phase": rng.choice(("Profiling", "Ready", 3, None))}
        review = review_of(SOUND, old) | {}
        review["request"] |= {
            "object": manifest,
            "oldObject": old,
            "kind": {"group": "nvidia.com", "version": version, "kind": kind},
            "operation": "UPDATE" if old else "CREATE",
        }
        answer("mutate", kind, review, EVERYTHING) if ADMITTED[kind].defaulted else None
        answered = answer("validate", kind, review, EVERYTHING)
        response = msgspec.json.decode(msgspec.json.encode(answered.review))["response"]
        assert all(warning and "\n" not in warning for warning in response.get("warnings", []))
        if response["allowed"]:
            continue
        refused += 1
        kinds.add(kind)
        status = response["status"]
        assert (status["code"], answered.denied) in ((422, INVALID), (422, "immutable_field_changed"))
        for cause in status["details"]["causes"]:
            assert cause["field"] and cause["message"], status
            assert f"{cause['field']}: {cause['message']}" in status["message"]
            assert "Traceback" not in cause["message"] and "pydantic" not in cause["message"]
    assert refused > 500, refused
    assert {REQUEST, "DynamoGraphDeployment"} <= kinds
