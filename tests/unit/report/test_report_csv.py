"""The CSV of a plan: AIC-06's columns by their names, then every figure; what is read back is what was predicted."""

from __future__ import annotations

import csv
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import AGG, DISAGG, candidate, group, number, profile

from armature.report import csv as report_csv
from armature.report.csv import AGG_COLUMNS, DISAGG_COLUMNS, candidates_csv, pareto_csv
from armature.report.table import table_candidates
from armature.search.profile import Candidate, Number

SEED_AGG = (
    "Rank | backend | tokens/s/gpu | tokens/s/user | TTFT | request_latency | concurrency | total_gpus (used)"
    " | replicas | gpus/replica | gpus/worker | parallel | bs"
)
SEED_DISAGG = (
    "Rank | backend | tokens/s/gpu | tokens/s/user | TTFT | request_latency | concurrency | total_gpus (used)"
    " | replicas | gpus/replica | (p)workers | (p)gpus/worker | (p)parallel | (p)bs"
    " | (d)workers | (d)gpus/worker | (d)parallel | (d)bs"
)


def read(data):
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_the_columns_of_the_field_by_their_names():
    """AIC-06, from the report in the field's guide."""
    assert tuple(SEED_AGG.split(" | ")) == AGG_COLUMNS
    assert tuple(SEED_DISAGG.split(" | ")) == DISAGG_COLUMNS
    head = candidates_csv(profile()).decode().splitlines()[0].split(",")
    assert head[: len(AGG_COLUMNS)] == list(AGG_COLUMNS)
    assert set(DISAGG_COLUMNS) <= set(head)
    assert len(head) == len(set(head))
    assert pareto_csv(profile()).decode().splitlines()[0].split(",") == head


def test_the_guides_own_rows():
    """Its disaggregated rows 1 and 3: 2 x tp2 -> 1 x tp4; twice 1 x tp2 -> 2 x tp1. And 2 x tp4 aggregated."""
    first = candidate("a", [group("prefill", 2, 2), group("decode", 1, 4)])
    third = candidate("b", [group("prefill", 2, 2), group("decode", 4, 1)])
    agg = candidate("c", [group("agg", 2, 4)])
    rows = {row["id"]: row for row in read(candidates_csv(profile([first, third, agg])))}
    shown = ("total_gpus (used)", "replicas", "gpus/replica", "(p)workers", "(p)gpus/worker", "(p)parallel")
    assert [rows["a"][c] for c in shown] == ["8", "1", "8", "2", "2", "tp2pp1"]
    assert [rows["b"][c] for c in shown] == ["8", "2", "4", "1", "2", "tp2pp1"]
    decode = ("(d)workers", "(d)gpus/worker", "(d)parallel")
    assert [rows["a"][c] for c in decode] == ["1", "4", "tp4pp1"]
    assert [rows["b"][c] for c in decode] == ["2", "1", "tp1pp1"]
    assert [rows["c"][c] for c in AGG_COLUMNS[7:]] == ["8", "2", "4", "4", "tp4pp1", "16"]
    assert {rows["c"][c] for c in DISAGG_COLUMNS if c[0] == "("} == {""}
    assert {rows["a"][c] for c in ("gpus/worker", "parallel", "bs")} == {""}


def test_experts_are_spelled_out():
    dep = msgspec.structs.replace(group("agg", 1, 1), dp=8, moe_ep=8)
    (row,) = read(candidates_csv(profile([candidate("x", [dep])])))
    assert row["parallel"] == "tp1pp1dp8etp1ep8"


def test_rank_is_the_number_of_the_table_and_goes_on():
    many = [candidate(f"c{i}", [group("agg", 1 + i % 8, 2 ** (i % 3))], per_gpu=300.0 - i) for i in range(40)]
    made = profile(many)
    rows = read(candidates_csv(made))
    assert [row["Rank"] for row in rows] == [str(n) for n in range(1, 41)]
    shown = table_candidates(made)
    assert [row["id"] for row in rows[: len(shown)]] == [c.id for c in shown]
    assert sum(row["picked"] == "true" for row in rows) == 1


def test_the_front_has_its_points_in_order():
    made = profile([AGG, DISAGG, candidate("behind")], pareto=("disagg-1", "agg-1"))
    rows = read(pareto_csv(made))
    assert [(row["point"], row["id"]) for row in rows] == [("1", "disagg-1"), ("2", "agg-1")]
    assert [row["point"] for row in read(candidates_csv(made)) if row["id"] == "behind"] == [""]


positive = st.floats(min_value=1e-9, max_value=1e12, allow_nan=False)


@given(value=positive, low=positive, high=positive, rate=positive, cost=st.none() | positive)
def test_every_figure_is_read_back_as_it_was(value, low, high, rate, cost):
    made = candidate("x", ttft_ms=value, request_rate=rate, cost_per_million_tokens=cost)
    made = msgspec.structs.replace(made, itl_ms=Number(value, low, high))
    (row,) = read(candidates_csv(profile([made])))
    for field in msgspec.structs.fields(Candidate):
        figure = getattr(made, field.name)
        if isinstance(figure, Number):
            back = [float(row[field.name + end]) for end in ("", "_low", "_high")]
            assert back == [figure.value, figure.low, figure.high]
        elif isinstance(figure, bool):
            assert row[field.name] == str(figure).lower()
        elif isinstance(figure, float) and field.name != "concurrency":
            assert float(row[field.name]) == figure
    assert row["cost_per_million_tokens"] == ("" if cost is None else repr(cost))
    assert float(row["concurrency"]) == made.concurrency
    assert row["source"] == "silicon"


def test_what_is_not_finite_is_not_written():
    with pytest.raises(ValueError, match="not finite"):
        candidates_csv(profile([candidate("x", request_rate=float("nan"))]))


def test_figures_that_a_search_learns_to_say_get_columns(monkeypatch):
    """Percentiles, say: a field that is a Number, or may be one, has its value and its band."""

    class Later(Candidate, frozen=True):
        ttft_p99_ms: Number | None = None

    monkeypatch.setattr(report_csv, "Candidate", Later)
    values = {f: getattr(AGG, f) for f in AGG.__struct_fields__}
    (row, none) = read(
        candidates_csv(profile([Later(**values, ttft_p99_ms=number(900)), Later(**{**values, "id": "y"})]))
    )
    assert (row["ttft_p99_ms"], none["ttft_p99_ms"], none["ttft_p99_ms_low"]) == ("900", "", "")
