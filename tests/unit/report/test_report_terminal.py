"""The plan as a person sees it (PAR-02, PAR-03, PAR-04, AIC-06)."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_factory import AGG, DISAGG, candidate, group, number, profile
from rich.console import Console

from armature.errors import ArmatureError
from armature.report import front_picture, plan_json, print_plan
from armature.report.table import candidate_named, candidate_table, table_candidates
from armature.report.terminal import plan_lines
from armature.report.words import ASCII, UNICODE, amount, layout, plain


def text_of(made, width=100, *, unicode=True):
    return "\n".join(line.text for line in plan_lines(made, width, unicode=unicode))


def many(count=30):
    made = [AGG, DISAGG]
    for i in range(count):
        groups = [group("agg", 1 + i, 2)] if i % 2 else [group("prefill", 3, 1), group("decode", 1 + i, 4)]
        made.append(
            candidate(
                f"c{i}", groups, itl_ms=5 + 2 * i, per_gpu=20 + 13.0 * (i * 7 % 30), ttft_ms=200 + 900 * i
            )
        )
    return profile(made, pareto=tuple(c.id for c in made[:8]))


def test_the_plan_says_what_was_asked_what_was_chosen_and_why():
    text = " ".join(text_of(profile()).split())
    for expected in (
        "Qwen/Qwen3-32B-FP8",
        "4,000 → 1,000 tokens, 4 requests/s",
        "TTFT ≤ 2,000 ms",
        "8×h200_sxm",
        "numbers: silicon",
        "Choice: agg vllm 4×tp2, 8 GPUs: meets the SLA",
        "request 12.9 s",
        "Fewest GPUs that carry 4 requests/s",
        "412 layouts",
        "Prefix caching is not assumed.",
    ):
        assert expected in text


def test_without_a_load_the_front_counts_the_whole_budget():
    free = profile(workload={"isl": 4000.0, "osl": 1000.0})
    assert "tokens/s/GPU, of all 8 GPUs" in text_of(free)
    assert "of all" not in text_of(profile())


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("unicode", [True, False])
def test_a_long_plan_stays_within_sixty_lines_and_the_width(width, unicode):
    made = many()
    made = profile(
        made.candidates,
        pareto=made.pareto,
        reasons=("why " * 30,) * 12,
        notes=tuple(f"{i} " + "note " * 20 for i in range(12)),
    )
    lines = plan_lines(made, width, unicode=unicode)
    assert len(lines) <= (62 if width >= 100 else 72)
    assert max(len(line.text) for line in lines) <= width
    assert "6 more with --json" in "\n".join(line.text for line in lines)


def test_notes_on_the_users_own_file_are_never_cut():
    made = profile(notes=tuple(f"note {i}" for i in range(9)))
    text = "\n".join(line.text for line in plan_lines(made, 100, notes=("spec.sla.ttft is 2 ms",)))
    assert "spec.sla.ttft is 2 ms" in text
    assert "5 more with --json" in text


def test_without_unicode_every_character_is_ascii():
    made = profile(reasons=("2× the throughput → fewer GPUs “now” 漢",))
    text = text_of(made, unicode=False)
    assert text.isascii()
    assert "2x the throughput -> fewer GPUs" in text
    assert "4,000 -> 1,000 tokens" in text
    assert plain("✓ ≤ 漢") == "ok <= ?"


def test_the_console_decides_about_unicode_and_colour():
    raw = io.BytesIO()
    latin = io.TextIOWrapper(raw, encoding="latin-1")
    print_plan(profile(), Console(file=latin, width=100), width=100)
    latin.flush()
    assert raw.getvalue().isascii()
    assert b"\x1b[" not in raw.getvalue()

    coloured = io.StringIO()
    print_plan(profile(), Console(file=coloured, force_terminal=True, color_system="truecolor"), width=100)
    assert "\x1b[" in coloured.getvalue()
    assert "▸1  agg 4×tp2" in coloured.getvalue()


def test_markup_in_a_name_is_printed_as_it_is():
    out = io.StringIO()
    print_plan(profile(name="[red]x[/red]"), Console(file=out, width=100), width=100)
    assert "[red]x[/red]" in out.getvalue()


def test_a_missed_target_is_marked():
    missed = candidate("agg-1", itl_ms=42.0)
    text = text_of(profile([missed, DISAGG]))
    assert "MISSES the SLA" in text
    assert next(line for line in text.splitlines() if "▸1" in line).endswith("✗")


def test_a_band_across_the_target_is_at_risk():
    risky = candidate("agg-1", itl_ms=28.0, at_risk=True)
    assert "meets the SLA, but is at risk" in text_of(profile([risky, DISAGG]))


def test_a_load_that_is_not_carried_is_said():
    weak = candidate("agg-1", carries_load=False)
    assert "does NOT carry the load" in text_of(profile([weak, DISAGG]))


def test_without_a_target_there_is_no_sla_column():
    free = profile([candidate("a", targets={}), candidate("b", targets={})], sla={"optimize": "throughput"})
    text = text_of(free)
    assert "SLA" not in text.splitlines()[2]
    assert "no SLA stated" in text


def test_table_has_the_pick_first_then_what_meets_the_sla_by_yield():
    rows = table_candidates(many())
    assert rows[0].id == "agg-1"
    met = [c for c in rows[1:] if c.meets_sla]
    missed = [c for c in rows[1:] if not c.meets_sla]
    assert list(rows[1:]) == met + missed
    for part in (met, missed):
        yields = [c.tokens_per_s_per_gpu for c in part]
        assert yields == sorted(yields, reverse=True)
    assert {c.mode for c in rows} == {"agg", "disagg"}


def test_a_layout_has_one_line_its_best_that_meets_the_sla():
    slow = candidate("x40", itl_ms=40.0, per_gpu=500)
    points = [candidate(f"x{i}", itl_ms=10.0 + i, per_gpu=300.0 + i) for i in range(5)]
    made = profile([DISAGG, *points, slow], pick="disagg-1", runner_up=None)
    assert [c.id for c in table_candidates(made)] == ["disagg-1", "x4"]
    with_pick = profile([points[0], *points[1:]], runner_up=None)
    assert [c.id for c in table_candidates(with_pick)] == ["x0"]


def test_among_equal_yields_the_order_of_the_search_stands():
    """With a load, layouts of as many GPUs differ in tokens/s/GPU by rounding alone."""
    tps = (8, 4, 2, 1)
    points = [
        candidate(f"{name}", [group("agg", 1, tp)], itl_ms=10.0 + tp, per_gpu=1000.0 + noise, gpus=8)
        for name, tp, noise in zip("dbca", tps, (0.0, -1e-10, 2e-10, 1e-10), strict=True)
    ]
    made = profile(points, pick="d", runner_up="b", pareto=("d",))
    assert [c.id for c in table_candidates(made)] == ["d", "b", "c", "a"]


def test_a_candidate_is_named_by_id_or_by_its_number_in_the_table():
    made = many()
    rows = table_candidates(made)
    assert candidate_named(made, "3") is rows[2]
    assert candidate_named(made, "c7").id == "c7"
    for wrong in ("0", "99", "nonsense", "³"):
        with pytest.raises(ArmatureError, match="no candidate"):
            candidate_named(made, wrong)


def test_the_narrow_table_gives_up_columns_but_never_the_verdict():
    wide = candidate_table(profile(), 120, UNICODE)[0][1]
    narrow = candidate_table(profile(), 80, UNICODE)[0][1]
    assert "req/s" in wide
    assert "12.5 (10.0–15.0)" in candidate_table(profile(), 100, UNICODE)[1][1]
    assert "(10.0" not in candidate_table(many(), 70, UNICODE)[1][1]
    for column in ("layout", "TTFT ms", "ITL ms", "tok/s/GPU", "tok/s/user", "SLA"):
        assert column in narrow
    assert len(narrow) <= 80


def test_two_backends_and_two_skus_are_named_in_the_layout():
    other = candidate("s", [group("prefill", 2, 1), group("decode", 1, 4, sku="h100_sxm")], backend="sglang")
    assert layout(other) == "disagg sglang 2×tp1 @h200_sxm → 1×tp4 @h100_sxm"
    assert layout(other, ASCII) == "disagg sglang 2xtp1 @h200_sxm -> 1xtp4 @h100_sxm"
    table = "\n".join(text for _, text in candidate_table(profile([AGG, other]), 120, UNICODE))
    assert "agg vllm 4×tp2" in table
    assert "disagg sglang" in table


def test_amount_keeps_three_digits():
    assert [amount(v) for v in (0.0, 0.1234, 9.994, 9.996, 99.94, 99.96, 1234.5)] == [
        "0.00", "0.12", "9.99", "10.0", "99.9", "100", "1,234",
    ]  # fmt: skip


def test_picture_marks_pick_front_and_the_itl_target():
    picture = front_picture(profile(), 80, 14)
    lines = picture.splitlines()
    assert len(lines) == 14
    assert max(map(len, lines)) <= 80
    assert picture.isascii()
    body = "\n".join(lines[1:-3])
    assert body.count("*") == 1
    assert body.count("D") == 1
    assert ":" in body
    assert "ITL 30.0 ms" in lines[-1]
    star = next(line for line in lines if "*" in line)
    dee = next(line for line in lines[1:-3] if "D" in line)
    assert lines.index(star) < lines.index(dee), "300 tokens/s/GPU is above 250"
    assert star.index("*") < dee.index("D"), "80 tokens/s/user is left of 111"


def test_picture_marks_what_two_modes_share():
    twin = candidate("t", [group("prefill", 1, 1), group("decode", 1, 1)], itl_ms=20.0, per_gpu=100)
    agg_twin = candidate("u", itl_ms=20.0, per_gpu=100)
    body = front_picture(profile([AGG, twin, agg_twin], pareto=("agg-1", "t", "u")), 80, 14)
    assert "#" in "\n".join(body.splitlines()[1:-3])


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_key_of_the_picture_is_whole_where_a_plan_may_be_as_narrow(width):
    behind = candidate("b", itl_ms=25.0, per_gpu=50)
    twins = [candidate("t", [group("prefill", 1, 1), group("decode", 1, 1)], itl_ms=20.0, per_gpu=100)]
    twins.append(candidate("u", itl_ms=20.0, per_gpu=100))
    other = candidate("o", itl_ms=15.0, per_gpu=200)
    made = profile([AGG, DISAGG, other, *twins, behind], pareto=("agg-1", "disagg-1", "o", "t", "u"))
    key = front_picture(made, width, 14).splitlines()[-1]
    assert len(key) <= width
    for part in ("* pick", "A agg", "D disagg", "# both", "small: behind", ": ITL 30.0 ms"):
        assert part in key


values = st.floats(min_value=0, max_value=1e7, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(values, values, st.booleans()), min_size=1, max_size=12),
    width=st.integers(min_value=20, max_value=160),
    height=st.integers(min_value=2, max_value=40),
)
def test_picture_holds_any_points(points, width, height):
    made = [
        candidate(f"c{i}", per_gpu=y, tokens_per_s_per_user=x, mode="agg" if agg else "disagg")
        for i, (x, y, agg) in enumerate(points)
    ]
    lines = front_picture(profile(made), width, height).splitlines()
    assert len(lines) == max(height, 8)
    assert max(map(len, lines)) <= max(width, 40)
    assert sum(line.count("*") for line in lines[1:-3]) == 1


def test_json_has_the_answer_the_candidates_and_the_graph():
    made = profile()
    data = plan_json(made, {"kind": "DynamoGraphDeployment"})
    assert data["pick"]["id"] == "agg-1"
    assert data["pick"]["label"] == "agg vllm 4×tp2"
    assert data["pick"]["itl_ms"] == {"value": 12.5, "low": 10.0, "high": 15.0}
    assert data["meets_sla"] is True
    assert [c["id"] for c in data["candidates"]] == ["agg-1", "disagg-1"]
    assert data["dgd"] == {"kind": "DynamoGraphDeployment"}
    assert "step_tables" not in data
    assert "curves" not in data
    assert set(data["pick"]) == {"label", *AGG.__struct_fields__}


def test_a_number_without_a_band_stands_alone():
    made = profile([candidate("agg-1", itl_ms=12.5, ttft_ms=400.0), DISAGG])
    assert "ITL 12.5 (10.0–15.0) ms" in text_of(made)
    sure = candidate("agg-1")
    sure = msgspec.structs.replace(sure, itl_ms=number(12.5, 0.0))
    assert "ITL 12.5 ms ·" in text_of(profile([sure, DISAGG]))
