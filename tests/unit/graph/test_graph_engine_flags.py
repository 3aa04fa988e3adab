"""Reading the field's commands, in every form its manifests use."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.graph.engine_flags import read_container, read_flags, unknown_flags
from armature.graph.known_flags import ALIASES, KNOWN
from armature.model.parallelism import Parallelism

VLLM = ["--model", "m", "--tensor-parallel-size", "2", "--max-num-seqs=8", "--disaggregation-mode", "decode"]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["python3", "-m", "dynamo.vllm"], VLLM),
        (["python3"], ["-m", "dynamo.vllm", *VLLM]),
        (["/bin/sh", "-c"], ["python3 -m dynamo.vllm " + " ".join(VLLM)]),
        (
            ["/bin/bash", "-c"],
            ["set -e\nray start --head && exec python3 -m dynamo.vllm " + " ".join(VLLM) + " | tee x"],
        ),
        (["bash", "-lc"], ["a=(" + " ".join(VLLM) + ')\nexec python3 -m dynamo.vllm "${a[@]}"']),
        (["sh"], ["-c", "python3 -m dynamo.vllm " + " ".join(VLLM)]),
        ([], ["python3", "-m", "dynamo.vllm", *VLLM]),
    ],
)
def test_every_form_of_command_reads_the_same(command, args):  # A1-24
    flags = read_container({"command": command, "args": args})
    assert (flags.module, flags.model, flags.role) == ("vllm", "m", "decode")
    assert (flags.parallelism, flags.max_num_seqs) == (Parallelism(tp=2), 8)


def test_environment_is_filled_in_as_shell_and_kubernetes_do():
    env = [{"name": "MODEL_PATH", "value": "m"}, {"name": "N", "value": "4"}]
    shell = {
        "command": ["sh", "-c"],
        "args": ["python3 -m dynamo.vllm --model $MODEL_PATH -tp ${N}"],
        "env": env,
    }
    plain = {"command": ["python3", "-m", "dynamo.vllm"], "args": ["--model", "$(MODEL_PATH)", "-tp", "$(N)"]}
    for flags in (read_container(shell), read_container(plain, env)):
        assert (flags.model, flags.gpus) == ("m", 4)


def test_sglang_tp_counts_the_dp_ranks_and_its_limits_are_shared_among_them():
    words = "python3 -m dynamo.sglang --model-path m --tp 8 --dp 8 --enable-dp-attention --ep-size 8"
    flags = read_flags([*words.split(), "--max-running-requests", "512", "--chunked-prefill-size", "65536"])
    assert flags.parallelism == Parallelism(tp=1, dp=8, moe_tp=1, moe_ep=8)
    assert (flags.gpus, flags.max_num_seqs, flags.max_batched_tokens) == (8, 64, 8192)


def test_vllm_expert_parallelism_spans_the_stage():
    words = "python3 -m dynamo.vllm --model m --data-parallel-size 8 --enable-expert-parallel"
    assert read_flags(words.split()).parallelism == Parallelism(1, 1, 8, 1, 8)


def test_trtllm_override_wins_over_file_and_file_over_flag():
    words = [
        "python3",
        "-m",
        "dynamo.trtllm",
        "--model-path",
        "m",
        "--tensor-parallel-size",
        "1",
        "--extra-engine-args",
        "/c/a.yaml",
    ]
    files = {"/c/a.yaml": "tensor_parallel_size: 2\nmax_batch_size: 4\nkv_cache_config:\n  dtype: fp8\n"}
    flags = read_flags(words, files=files)
    assert (flags.gpus, flags.max_num_seqs, flags.kv_dtype, flags.sized) == (2, 4, "fp8", True)
    override = json.dumps({"tensor_parallel_size": 8, "enable_attention_dp": True})
    flags = read_flags([*words, "--override-engine-args", override], files=files)
    assert flags.parallelism == Parallelism(tp=1, dp=8)


def test_a_trtllm_config_that_was_not_given_leaves_the_size_open():
    flags = read_flags(
        ["python3", "-m", "dynamo.trtllm", "--model-path", "m", "--extra-engine-args", "./a.yaml"]
    )
    assert not flags.sized


def test_the_later_flag_wins_and_no_undoes():
    words = "python3 -m dynamo.vllm -tp 2 --tensor_parallel_size 4 --enable-prefix-caching --no-enable-prefix-caching"
    flags = read_flags(words.split())
    assert flags.gpus == 4
    assert not flags.switch("--enable-prefix-caching")
    assert "--no-enable-prefix-caching" in flags.options


def test_lists_and_negative_numbers_are_values():
    flags = read_flags(
        ["python3", "-m", "dynamo.sglang", "--cuda-graph-bs", "1", "2", "4", "--stagger-delay", "-1"]
    )
    assert flags.options["--cuda-graph-bs"] == ("1", "2", "4")
    assert flags.number("--stagger-delay") == -1


@pytest.mark.parametrize(
    ("flag", "close"),
    [
        ("--tensor-parallelism-size", "--tensor-parallel-size"),
        ("--max-num-seq", "--max-num-seqs"),
        ("--max-model-length", "--max-model-len"),
    ],
)
def test_a_slip_is_found(flag, close):
    flags = read_flags(["python3", "-m", "dynamo.vllm", flag, "2"])
    assert unknown_flags(flags) == [(flag, close)]


@pytest.mark.parametrize(
    "flag", ["--entirely-new-thing", "--trtllm.max_batch_size", "--no-enable-prefix-caching"]
)
def test_a_flag_that_resembles_nothing_is_left_alone(flag):
    assert unknown_flags(read_flags(["python3", "-m", "dynamo.vllm", flag])) == []


def test_other_programs_are_not_engines():
    assert not read_flags(["dynamo-vllm-sidecar", "--x"]).is_engine
    assert (
        read_flags(["python3", "-m", "dynamo.frontend", "--router-mode", "kv"]).value("--router-mode") == "kv"
    )
    assert read_flags([]).module == ""


def test_every_alias_leads_to_a_known_flag():
    for module, aliases in ALIASES.items():
        assert set(aliases.values()) <= KNOWN[module], module


WORDS = """python3 -m dynamo.vllm dynamo.sglang dynamo.trtllm dynamo.mocker sh -c --tp -tp = --dp= --dp 0 -1 x
    --enable-dp-attention --max-running-requests --override-engine-args --extra-engine-args --trtllm.a {"a":1} [1]
    { ${ a=( ' " <<E $( --no- - --"""
words = st.sampled_from(WORDS.split())


@settings(max_examples=200, deadline=None)
@given(st.lists(words | st.text(max_size=8), max_size=12))
def test_no_command_line_breaks_the_reader(command):
    flags = read_flags(command, files={"x": "[1]"})
    assert flags.gpus >= 1
    unknown_flags(flags)
