"""`armature crds` and `armature convert`, as a user pipes them."""

from __future__ import annotations

import pytest
import yaml
from cli_process import ROOT, armature

from armature.api.crds import all_crds

pytestmark = pytest.mark.e2e

CONFORMANCE = ROOT / "tests" / "data" / "conformance"
ALPHA = CONFORMANCE / "recipes_deepseek-r1_sglang_disagg-16gpu_deploy.yaml"


def documents(text):
    return list(yaml.safe_load_all(text))


def test_all_crds_are_ready_to_apply(tmp_path):
    done = armature("crds", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert documents(done.stdout) == all_crds()
    assert len(documents(done.stdout)) == 7


def test_named_crds_as_files(tmp_path):
    out = tmp_path / "out"
    done = armature("crds", "-o", out, "dgdr", "DynamoModel", "dynamomodels", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    names = ["dynamographdeploymentrequests.nvidia.com.yaml", "dynamomodels.nvidia.com.yaml"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert all(str(out / name) in done.stderr for name in names)


def test_a_kind_that_is_not_ours(tmp_path):
    done = armature("crds", "DynamoGraphDeploymnt", "pods", home=tmp_path)
    assert done.returncode == 2
    assert "did you mean DynamoGraphDeployment?" in done.stderr
    assert "'pods'" in done.stderr


def test_a_file_goes_to_the_other_version_and_comes_back(tmp_path):
    there = armature("convert", ALPHA, home=tmp_path)
    assert there.returncode == 0, there.stderr
    (beta,) = documents(there.stdout)
    assert beta["apiVersion"] == "nvidia.com/v1beta1"
    assert "dynamoNamespace (sgl-dsr1-8gpu) is deprecated and ignored" in there.stderr
    assert (
        "the annotation nvidia.com/v1alpha1-remainder keeps spec.services.Frontend.dynamoNamespace"
        in there.stderr
    )
    assert there.stderr.count("comments of the file are not in the output") == 1
    back = armature("convert", "-", stdin=there.stdout, home=tmp_path)
    assert (back.returncode, back.stderr) == (0, "")
    assert documents(back.stdout) == documents(ALPHA.read_text())


def test_several_documents_and_one_version(tmp_path):
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: '1'\n"
    request = (
        "apiVersion: nvidia.com/v1beta1\nkind: DynamoGraphDeploymentRequest\n"
        "metadata:\n  name: r\nspec:\n  model: m\n"
    )
    model = (
        "apiVersion: nvidia.com/v1alpha1\nkind: DynamoModel\nmetadata:\n  name: m\n"
        "spec:\n  modelName: a\n  baseModelName: b\n"
    )
    text = "---\n".join((config, request, model))
    done = armature("convert", "-", "--to", "v1beta1", stdin=text, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert documents(done.stdout) == documents(text.replace("v1alpha1", "v1beta1"))
    other = documents(armature("convert", "-", stdin=text, home=tmp_path).stdout)
    assert [each["apiVersion"] for each in other] == ["v1", "nvidia.com/v1alpha1", "nvidia.com/v1beta1"]


def test_a_file_with_a_problem_is_not_converted(tmp_path):
    done = armature("convert", "-", stdin=ALPHA.read_text().replace("services:", "servces:"), home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean services?" in done.stderr
