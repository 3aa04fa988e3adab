"""The strategic merge: rules one by one, and its two laws as properties."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from armature.graph.merge import strategic_merge, without_nulls


def test_maps_merge_deep_scalars_replace_and_null_deletes():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert strategic_merge(base, {"a": {"b": 9, "c": None}, "d": None, "e": "x"}) == {"a": {"b": 9}, "e": "x"}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_containers_merge_by_name_and_args_replace():
    base = {"containers": [{"name": "main", "image": "a", "args": ["--x", "1"]}, {"name": "side"}]}
    patch = {"containers": [{"name": "main", "args": ["--y"]}, {"name": "new", "image": "n"}]}
    assert strategic_merge(base, patch) == {
        "containers": [
            {"name": "main", "image": "a", "args": ["--y"]},
            {"name": "side"},
            {"name": "new", "image": "n"},
        ]
    }


def test_env_merges_by_name_and_an_entry_is_replaced_whole():  # GEN-10
    base = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    patch = {"env": [{"name": "A", "valueFrom": source}, {"name": "C", "value": "3"}]}
    assert strategic_merge(base, patch)["env"] == [
        {"name": "A", "valueFrom": source},
        {"name": "B", "value": "2"},
        {"name": "C", "value": "3"},
    ]


def test_volumes_mounts_and_tolerations_have_their_keys():
    base = {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "volumeMounts": [{"mountPath": "/a", "name": "v"}],
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    patch = {
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        "volumeMounts": [{"mountPath": "/a", "readOnly": True}],
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    }
    assert strategic_merge(base, patch) == {
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        "volumeMounts": [{"mountPath": "/a", "name": "v", "readOnly": True}],
        "tolerations": [*base["tolerations"], *patch["tolerations"]],
    }


def test_an_item_marked_for_deletion_goes():
    base = {"containers": [{"name": "main"}, {"name": "side"}]}
    patch = {"containers": [{"name": "side", "$patch": "delete"}, {"name": "none", "$patch": "delete"}]}
    assert strategic_merge(base, patch) == {"containers": [{"name": "main"}]}


def test_components_match_without_regard_to_case():
    merged = strategic_merge(
        {"components": [{"name": "Frontend", "replicas": 1}]},
        {"components": [{"name": "frontend", "replicas": 2}]},
    )
    assert [component["replicas"] for component in merged["components"]] == [2]


scalars = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"])
names = st.sampled_from(["main", "side", "third"])
items = st.fixed_dictionaries({"name": names}, optional={"value": scalars, "image": st.sampled_from("xy")})
unique_items = st.lists(items, max_size=3, unique_by=lambda item: item["name"])


def _maps(children):
    return st.dictionaries(st.sampled_from(["a", "b", "env", "containers"]), children, max_size=4)


trees = _maps(st.recursive(scalars | st.lists(scalars, max_size=3) | unique_items, _maps, max_leaves=8))


@settings(max_examples=150, deadline=None)
@given(trees, trees)
def test_applying_a_patch_twice_is_applying_it_once(base, patch):
    once = strategic_merge(base, patch)
    assert strategic_merge(once, patch) == once


@settings(max_examples=60, deadline=None)
@given(trees)
def test_an_empty_patch_changes_nothing(base):
    before = copy.deepcopy(base)
    assert strategic_merge(base, {}) == base == before


@settings(max_examples=60, deadline=None)
@given(trees)
def test_a_patch_on_nothing_leaves_no_null(patch):
    merged = strategic_merge({}, patch)
    assert merged == without_nulls(merged)
