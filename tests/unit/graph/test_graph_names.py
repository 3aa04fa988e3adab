"""Names within Grove's budget, and images."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.graph.images import DEFAULT_VERSION, images_for
from armature.graph.names import COMBINED_LIMIT, component_cost, dgd_name, is_dns_label


def test_the_default_name_is_the_requests_with_dgd():  # C-14, LIFE-14
    assert dgd_name("my-model", [component_cost("Frontend")]) == "my-model-dgd"


def test_names_too_long_are_shortened_with_a_stable_hash():
    long = "a" * 63
    name = dgd_name(long, [component_cost("TRTLLMPrefillWorker")])
    assert len(name) + len("TRTLLMPrefillWorker") == COMBINED_LIMIT
    assert name == dgd_name(long, [19])
    assert name.endswith("-dgd")
    assert name != dgd_name("a" * 62 + "b", [19])


@settings(max_examples=100, deadline=None)
@given(
    st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True),
    st.lists(st.sampled_from([8, 18, 19, 22]), max_size=3),
)
def test_every_request_name_makes_a_dns_label_within_the_budget(name, costs):
    made = dgd_name(name, costs)
    assert is_dns_label(made, COMBINED_LIMIT - max(costs, default=0))


def test_a_multinode_component_costs_its_name_twice_and_the_suffix():
    assert component_cost("decode", 2) == len("decode") + len("decode-ldr")


@pytest.mark.parametrize(
    ("image", "override", "expected"),
    [
        (None, None, f"nvcr.io/nvidia/ai-dynamo/vllm-runtime:{DEFAULT_VERSION}"),
        (
            "nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.1.1",
            None,
            "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.1.1",
        ),
        ("reg.example:5000/team/planner:1.3.0-efa", None, "reg.example:5000/team/vllm-runtime:1.3.0-efa"),
        ("reg.example:5000/planner", "1.4.2", "reg.example:5000/vllm-runtime:1.4.2"),
        ("reg.example/planner:latest", None, f"reg.example/vllm-runtime:{DEFAULT_VERSION}"),
    ],
)
def test_registry_and_tag_carry_over(image, override, expected):  # C-03, PK-01
    assert images_for(image, override).runtime("vllm") == expected


def test_digest_of_another_image_is_not_kept():
    images = images_for(f"reg.example/planner:1.3.0@sha256:{'0' * 64}", None)
    assert images.runtime("trtllm") == "reg.example/tensorrtllm-runtime:1.3.0"
    assert images.planner == "reg.example/dynamo-planner:1.3.0"
    assert any("digest" in note for note in images.notes)
