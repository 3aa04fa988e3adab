"""What is kept of an object for its other version: put back exactly, dropped where the object says otherwise now."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from armature.api.convert.remainder import decoded, difference, encoded, fingerprint, restored, with_all

scalars = st.one_of(st.text(max_size=3), st.integers(-3, 3), st.booleans(), st.floats(-2, 2))
named = st.fixed_dictionaries(
    {"name": st.sampled_from("abcd")}, optional={"v": scalars, "type": st.text(max_size=2)}
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(named, max_size=4),
        st.dictionaries(st.sampled_from("abcde"), inner, max_size=4),
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from("abcde"), values, max_size=5)


def exactly(value):
    """With true apart from 1, and the order of lists."""
    return json.dumps(value, sort_keys=True)


@given(objects, objects)
def test_a_difference_makes_one_object_into_the_other(computed, original):
    if computed == original:  # true for 1, as nothing else here tells them apart
        return
    before = exactly(computed)
    entries = json.loads(json.dumps(difference(computed, original)))
    assert with_all(computed, entries) == original
    assert exactly(computed) == before
    assert difference(computed, computed) == []


def test_a_place_that_changed_meanwhile_keeps_its_change():
    entries = difference(
        {"a": 1, "b": {"c": [{"name": "x", "v": 1}]}}, {"a": 2, "b": {"c": [{"name": "x", "v": 2}]}}
    )
    now = {"a": 7, "b": {"c": [{"name": "y"}, {"name": "x", "v": 1, "w": 3}]}}
    assert with_all(now, entries) == {"a": 7, "b": {"c": [{"name": "y"}, {"name": "x", "v": 2, "w": 3}]}}


def test_new_items_take_the_places_of_those_that_went():
    (entry,) = difference(*({"l": [{"name": name} for name in names]} for names in ("abc", "cab")))
    now = {"l": [{"name": name} for name in "adbe"]}
    assert [item["name"] for item in with_all(now, [entry])["l"]] == list("dabe")


def test_an_entry_that_contradicts_the_other_version_is_dropped():
    """`left` is what the way back would lose: here, whatever makes a + b other than 3."""
    entries = difference({"a": 3}, {"a": 1, "b": 2})

    def left(value):
        total = value.get("a", 0) + value.get("b", 0)
        return [] if total == 3 else [{"at": ["total"], "is": total}]

    assert restored({"a": 3}, entries, left)[0] == {"a": 1, "b": 2}
    assert restored({"a": 3}, entries[1:], left)[0] == {"a": 3}


def test_long_values_are_known_by_their_hash():
    long = {"a": ["x" * 40, "y" * 40]}
    (entry,) = difference({"v": long}, {})
    assert set(entry) == {"at", "hash"}
    assert with_all({"v": json.loads(json.dumps(long))}, [entry]) == {}
    assert with_all({"v": {"a": []}}, [entry]) == {"v": {"a": []}}


@given(objects)
def test_an_annotation_says_what_was_kept(value):
    remainder = {"rest": [{"at": ["a"], "is": value}], "names": {"a-b": "a_b"}, "of": fingerprint(value)}
    assert decoded(encoded(remainder)) == json.loads(json.dumps(remainder))
