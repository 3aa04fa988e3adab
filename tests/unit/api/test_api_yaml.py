"""YAML text: scalars as kubectl reads them, hostile files, and a dump that reads back as the same value."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armature.api import yaml_text
from armature.api.yaml_text import dump_yaml, parse_yaml


def value(text):
    documents, problems = parse_yaml(text)
    assert problems == []
    assert [p for d in documents for p in d.problems] == []
    return documents[0].value


def problems_of(text):
    documents, stopped = parse_yaml(text)
    return [str(problem) for document in documents for problem in document.problems] + [
        str(p) for p in stopped
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("off", False),
        ("1e3", 1000.0),
        ("1.5e+3", 1500.0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("0644", 420),
        ("-12", -12),
        ("+7", 7),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("~", None),
        ("null", None),
        ("2026-01-23", "2026-01-23"),
        ("2026-01-23T12:00:00Z", "2026-01-23T12:00:00Z"),
        ("12:30", "12:30"),
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("1.3.0", "1.3.0"),
        ("08", 8.0),
        ("0x_", "0x_"),
        ("9" * 5000, "9" * 5000),
        ("'8'", "8"),
        ('"yes"', "yes"),
        ("!!str 8", "8"),
        ("image:${VERSION}", "image:${VERSION}"),
        ("y", "y"),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(text, expected):
    read = value(f"a: {text}")["a"]
    assert read == expected
    assert type(read) is type(expected)


def test_nan_is_a_float_for_the_types_to_refuse():
    assert math.isnan(value("a: .nan")["a"])


def test_anchors_and_merge_keys():
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: *b\nthree:\n  <<: [*b, {z: 4}]\n"
    assert value(text) == {
        "base": {"x": 1, "y": 2},
        "one": {"y": 3, "x": 1},
        "two": {"x": 1, "y": 2},
        "three": {"x": 1, "y": 2, "z": 4},
    }


def test_a_quoted_merge_key_is_a_key():
    assert value('"<<": {a: 1}') == {"<<": {"a": 1}}


def test_every_duplicate_key_is_a_problem_with_its_path_and_line():
    found = problems_of("spec:\n  sla:\n    ttft: 1\n    ttft: 2\n  sla: {}\nspec: 3\n")
    assert found == [
        "spec.sla.ttft: key appears twice (again on line 4); keep one of them",
        "spec.sla: key appears twice (again on line 5); keep one of them",
        "spec: key appears twice (again on line 6); keep one of them",
    ]


def test_keys_that_are_not_strings():
    found = problems_of("a:\n  8000: x\n  yes: y\n  ~: z\n")
    assert [line.split(":")[0] for line in found] == ["a.8000", "a.true", "a.null"]
    assert '"8000" in quotes' in found[0]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1, 2", "line 2, column 1"),
        ("a: b: c", "line 1, column 5"),
        ("a:\n\tb: 1", "line 2, column 1"),
        ("a: {{ name }}", "line 1"),
        ("a: *nothing", "line 1"),
        ("a: \x01", "file"),
        ("a: !Secret x", "line 1"),
    ],
)
def test_broken_text_is_one_problem_that_says_where(text, where):
    found = problems_of(text)
    assert len(found) == 1
    assert found[0].startswith(where)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 5_000, "\n".join(" " * n + "a:" for n in range(500))]
)
def test_deep_nesting_neither_crashes_nor_hangs(text):
    assert "nested deeper than 100 levels" in problems_of(text)[0]


def test_an_alias_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert f"more than {yaml_text.MAX_VALUES} values" in problems_of("\n".join(lines))[0]


def test_a_cyclic_alias_is_refused():
    assert "no anchor before it" in problems_of("a: &a [*a]")[0]


def test_a_huge_file_is_refused():
    assert "larger than 3 MB" in problems_of("a: " + "x" * 3_000_001)[0]


def test_the_documents_before_a_syntax_error_are_still_read():
    documents, stopped = parse_yaml("a: 1\n---\nb: [\n")
    assert documents[0].value == {"a": 1}
    assert len(stopped) == 1


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(alphabet="<=-:#?!&*%@`0179e.+_ \n\t'\"|>~yn", max_size=6)
    | st.sampled_from(
        [
            "<<",
            "=",
            "1e3",
            "yes",
            "0644",
            "12:30",
            "2026-01-23",
            "~",
            "",
            "a: b",
            "- x",
            "a\n b\n",
            "\n",
            " x",
            "#",
            "---",
            "...",
        ]
    )
)
keys = st.text() | st.text(alphabet="<=-:#?!&*%@`0179e.+_ \n\t'\"|>~yn", max_size=4)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(keys, trees, max_size=4))
def test_what_is_dumped_reads_back_as_the_same_value(tree):
    assert value(dump_yaml(tree)) == tree


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t<~1.e", max_size=40))
def test_no_text_raises(text):
    documents, stopped = parse_yaml(text)
    for problem in [*stopped, *(p for d in documents for p in d.problems)]:
        assert problem.path
        assert problem.rule


def test_dump_uses_blocks_for_scripts_and_no_aliases():
    shared = {"x": 1}
    assert (
        dump_yaml({"a": shared, "b": shared, "s": "one\ntwo\n"})
        == "a:\n  x: 1\nb:\n  x: 1\ns: |\n  one\n  two\n"
    )
