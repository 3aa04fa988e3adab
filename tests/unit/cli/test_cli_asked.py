"""A request from options: alone, or over a file; judged by the API's own rules, told in the options' names."""

from __future__ import annotations

import io
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.api import check, load_documents, to_dict
from armature.cli.asked import _FIELDS, Asked, asked_request, in_option_names, request_yaml
from armature.cli.main import app, main
from armature.errors import InvalidInput, Problem

REQUEST = Path(__file__).parents[2] / "data" / "cli" / "request.yaml"
LOADED = REQUEST.read_text() + "  sla: {ttft: 2000, itl: 30}\n"


@pytest.fixture
def loaded(tmp_path):
    def write(text=LOADED):
        file = tmp_path / "request.yaml"
        file.write_text(text)
        return str(file)

    return write


def spec(request):
    return to_dict(request)["spec"]


def refused(*args, **kwargs):
    with pytest.raises(InvalidInput) as caught:
        asked_request(*args, **kwargs)
    return str(caught.value)


def test_a_request_without_a_file():
    asked = Asked(model="Qwen/Qwen3-32B", isl=3000, osl=200, ttft=2000.0, itl=30.0, request_rate=2.5)
    request, notes = asked_request(None, asked)
    assert request.metadata.name == "qwen3-32b"
    assert spec(request) == {
        "model": "Qwen/Qwen3-32B",
        "workload": {"isl": 3000, "osl": 200, "requestRate": 2.5},
        "sla": {"ttft": 2000.0, "itl": 30.0},
    }
    assert notes == ()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("meta-llama/Llama-3.1-8B", "llama-3-1-8b"),
        ("/models/My_Model/", "my-model"),
        ("___", "request"),
        ("x" * 300, "x" * 50),
    ],
)
def test_its_name_is_the_models_as_kubernetes_takes_names(model, name):
    request, _ = asked_request(None, Asked(model=model))
    assert request.metadata.name == name


def test_every_field_that_options_set_is_an_option_of_plan():
    parameters = {p.name: p for p in typer.main.get_command(app).commands["plan"].params}
    for name, (option, _) in _FIELDS.items():
        assert option in parameters[name].opts
    assert {f.name for f in fields(Asked)} == {*_FIELDS, "hardware"}


def test_options_go_over_the_files_fields_and_a_note_says_so(loaded):
    request, notes = asked_request(loaded(), Asked(isl=1000, ttft=500.0, backend="vllm", optimize="latency"))
    assert spec(request)["workload"] == {"isl": 1000, "osl": 1000}
    assert spec(request)["sla"] == {"ttft": 500.0, "itl": 30.0, "optimizationType": "latency"}
    assert spec(request)["hardware"] == {"gpuSku": "h200_sxm", "totalGpus": 8}
    (note,) = notes
    assert "--isl 1000 (it says 4000)" in note
    assert "--ttft 500 (it says 2000)" in note
    assert "--optimize latency (not in it)" in note
    assert "backend" not in note  # the same as the file's


def test_a_file_alone_is_as_it_was(loaded):
    request, notes = asked_request(loaded(), Asked())
    assert (spec(request)["sla"], notes) == ({"ttft": 2000.0, "itl": 30.0}, ())


def test_gpus_in_place_of_the_files_are_noted(loaded):
    _, notes = asked_request(loaded(), Asked(hardware="8xl40s"))
    assert notes == (
        "Options over the file's fields: --hardware 8xl40s (it says gpuSku h200_sxm, totalGpus 8).",
    )
    silent = LOADED.replace("  hardware: {gpuSku: h200_sxm, totalGpus: 8}\n", "")
    assert asked_request(loaded(silent), Asked(hardware="8xl40s"))[1] == ()


def test_a_warning_about_what_an_option_replaces_goes_with_it(loaded):
    text = LOADED.replace("ttft: 2000", "ttft: 2")
    assert "spec.sla.ttft is 2 ms; the unit is milliseconds" in asked_request(loaded(text), Asked(isl=9))[1]
    _, notes = asked_request(loaded(text), Asked(ttft=2000.0))
    assert not any("unit" in note for note in notes)


def test_a_target_that_excludes_others_replaces_them(loaded):
    """VAL-02: end-to-end latency does not stand beside TTFT and ITL; what the user types last is what is meant."""
    request, notes = asked_request(loaded(), Asked(e2e=12_000.0))
    assert spec(request)["sla"] == {"e2eLatency": 12_000.0}
    assert "its spec.sla.itl does not apply" in notes[0]
    back, _ = asked_request(
        loaded(LOADED.replace("{ttft: 2000, itl: 30}", "{e2eLatency: 9}")), Asked(itl=20.0)
    )
    assert spec(back)["sla"] == {"itl": 20.0}
    rate = LOADED.replace("osl: 1000", "osl: 1000, concurrency: 8")
    request, _ = asked_request(loaded(rate), Asked(request_rate=2.0))
    assert spec(request)["workload"] == {"isl": 4000, "osl": 1000, "requestRate": 2.0}


def test_aiconfigurators_words_for_hardware(loaded):
    request, _ = asked_request(None, Asked(model="m", system="h100_sxm", total_gpus=16))
    assert spec(request)["hardware"] == {"gpuSku": "h100_sxm", "totalGpus": 16}
    said = refused(None, Asked(model="m", system="h100_sxm", hardware="8xl40s"))
    assert "--system: cannot be combined with --hardware" in said
    said = refused(None, Asked(model="m", system="h10_sxm"))
    assert "--system: not a GPU SKU name (got 'h10_sxm')" in said


def test_neither_a_file_nor_a_model_is_one_clear_error():
    said = refused(None, Asked(isl=3))
    assert said.count("\n") == 1
    assert "FILE" in said
    assert "--model" in said


def test_problems_are_told_in_the_names_of_options():
    """All at once, the rules of a file (VAL-02), and no path of a file that is not there."""
    asked = Asked(
        model="m",
        isl=0,
        osl=2**30,
        ttft=-1.0,
        itl=float("nan"),
        e2e=float("inf"),
        total_gpus=0,
        concurrency=0.0,
    )
    said = refused(None, asked)
    for option in ("--isl", "--osl", "--ttft", "--itl", "--e2e", "--total-gpus", "--concurrency"):
        assert f"\n  {option}: " in said
    assert "spec." not in said
    said = refused(None, Asked(model="m", ttft=1.0, e2e=2.0))
    assert "--e2e: cannot be combined with --ttft (got 2.0); keep either --e2e or --ttft" in said
    said = refused(None, Asked(model="m", request_rate=1.0, concurrency=2.0))
    assert "--request-rate: cannot be combined with --concurrency" in said
    assert "--model: must be a model's name" in refused(None, Asked(model=" "))


def test_fields_of_the_file_keep_their_paths(loaded):
    """Thorough with backend auto (VAL-01): the file's field, and the option that clashes with it."""
    text = LOADED.replace("  backend: vllm", "  searchStrategy: thorough\n  backend: vllm")
    said = refused(loaded(text), Asked(backend="auto"))
    assert 'spec.searchStrategy: is incompatible with --backend "auto"' in said


def test_a_problem_of_a_mapping_names_the_options_it_speaks_of():
    error = InvalidInput("x", [Problem("spec.workload", "isl 9 + osl 2 = 11 tokens is past the context")])
    said = str(in_option_names(error, Asked(isl=9, request_rate=1.0)))
    assert "--isl: --isl 9 + osl 2" in said
    assert "spec.workload: isl 9" in str(in_option_names(error, Asked(ttft=3.0)))


@pytest.mark.parametrize(
    "hardware", ["8xh200_sxm", "2x4xh100_sxm", "12xh200_sxm", "gb200", "3xl40s", "h100_pcie"]
)
def test_a_written_request_states_the_same_gpus(hardware):
    from armature.hardware.inventory import inventory_for_request, parse_hardware

    request, _ = asked_request(None, Asked(model="m", ttft=2000.0))
    (again,) = load_documents(request_yaml(request, hardware), "written")
    assert inventory_for_request(again.spec.hardware, None).pools == parse_hardware(hardware).pools
    assert again.spec.sla == request.spec.sla


@pytest.mark.parametrize("hardware", ["8xh200_sxm,8xl40s", "4xUNHEARD-OF-48GB"])
def test_gpus_that_a_request_has_no_words_for_are_refused(hardware):
    request, _ = asked_request(None, Asked(model="m"))
    with pytest.raises(InvalidInput, match="does not fit in a request"):
        request_yaml(request, hardware)


def test_write_request_prints_the_file_with_options_in_it(loaded, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LOADED.encode())))
    assert main(["plan", "-", "--write-request", "--tpot", "12", "--hardware", "2x8xh100_sxm"]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert written["kind"] == "DynamoGraphDeploymentRequest"
    assert written["metadata"] == {"name": "test"}
    assert written["spec"]["sla"] == {"ttft": 2000, "itl": 12}
    assert written["spec"]["hardware"] == {"gpuSku": "h100_sxm", "totalGpus": 16, "numGpusPerNode": 8}


def test_a_unit_that_looks_wrong_is_said_of_the_option():
    _, notes = asked_request(None, Asked(model="m", ttft=2.0))
    assert notes == ("--ttft is 2 ms; the unit is milliseconds",)


tokens = st.none() | st.integers(-2, 2**21)
positive = st.none() | st.floats(-1, 1e9) | st.sampled_from([float("inf"), float("nan")])


@given(
    asked=st.builds(
        Asked,
        model=st.sampled_from(["Qwen/Qwen3-32B", " x", "m"]),
        backend=st.sampled_from([None, "auto", "vllm", "vlm"]),
        system=st.sampled_from([None, "h200_sxm", "H200", "NVIDIA-H100-80GB-HBM3"]),
        total_gpus=st.none() | st.integers(-1, 200_000),
        isl=tokens,
        osl=tokens,
        request_rate=positive,
        concurrency=positive,
        ttft=positive,
        itl=positive,
        e2e=positive,
        optimize=st.sampled_from([None, "latency", "speed"]),
    )
)
@settings(max_examples=60, deadline=None)
def test_options_are_judged_as_a_file_that_says_the_same(asked):
    """As many problems, none lost and none new; and what is accepted is the same request."""
    document = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "same"},
        "spec": {},
    }
    for name, value in asked.given.items():
        *way, last = _FIELDS[name][1].split(".")
        at = document
        for key in way:
            at = at.setdefault(key, {})
        at[last] = value
    resource, problems = check(document)
    if problems:
        with pytest.raises(InvalidInput) as caught:
            asked_request(None, asked)
        assert len(caught.value.problems) == len(problems)
        assert not any(problem.path.startswith("spec.") for problem in caught.value.problems)
    else:
        assert asked_request(None, asked)[0].spec == resource.spec
