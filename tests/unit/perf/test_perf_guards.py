import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from armature.perf.guards import above_floor, cheapest_of, never_falling
from armature.perf.lattice import LatticeTimes, context_part, extended, grid_at, grid_at_3d, rising

TIMES = st.floats(0.01, 1e4)
SHEET = arrays.arrays(np.float64, (5, 4), elements=TIMES)


def test_a_quantised_step_slower_than_bf16_takes_the_bf16_time():
    mended = cheapest_of(np.array([19.7, 20.2, 12.0]), [np.array([10.8, 11.6, 14.0])])
    assert mended.values == pytest.approx([10.8, 11.6, 12.0])
    assert mended.share == pytest.approx(2 / 3)
    assert mended.worst == pytest.approx(19.7 / 10.8)


def test_each_broken_part_is_mended_on_its_own():
    # Dense layers: 8 ms quantised, 3 in bf16; experts: 2 ms quantised, 5 in bf16.
    mended = cheapest_of(np.array([10.0]), [np.array([5.0]), np.array([13.0])])
    assert mended.values == pytest.approx([5.0])


def test_nothing_to_compare_with_changes_nothing():
    mended = cheapest_of(np.array([1.0, 2.0]), [])
    assert mended.values == pytest.approx([1.0, 2.0])
    assert mended.share == 0


def test_a_slightly_slower_quantised_step_is_mended_without_a_word():
    assert cheapest_of(np.array([1.04]), [np.array([1.0])]).share == 0


def test_times_below_the_floor_are_raised_and_those_near_it_are_not():
    mended = above_floor(np.array([0.5, 0.95, 2.0]), np.array([1.0, 1.0, 1.0]))
    assert mended.values == pytest.approx([1.0, 0.95, 2.0])
    assert mended.share == pytest.approx(1 / 3)


@settings(max_examples=50, deadline=None)
@given(SHEET)
def test_never_falling_rises_along_both_axes_and_lowers_nothing(values):
    mended = never_falling(values).values
    assert (np.diff(mended, axis=0) >= 0).all()
    assert (np.diff(mended, axis=1) >= 0).all()
    assert (mended >= values).all()
    assert mended.max() == values.max()


AXES = (np.array([1.0, 2.0, 4.0, 9.0, 16.0]), np.array([0.0, 10.0, 100.0, 1000.0]))


@settings(max_examples=50, deadline=None)
@given(
    SHEET,
    st.lists(st.floats(-5, 1e7), min_size=2, max_size=2),
    st.lists(st.floats(-5, 1e9), min_size=2, max_size=2),
)
def test_interpolation_of_a_rising_lattice_rises_everywhere_and_is_finite(values, xs, ys):
    axes, wider = extended(AXES, rising(values))
    wider = rising(wider)
    (x0, x1), (y0, y1) = sorted(xs), sorted(ys)
    low, high = (float(grid_at(axes, wider, np.array(x), np.array(y))) for x, y in ((x0, y0), (x1, y1)))
    assert np.isfinite([low, high]).all()
    assert low <= high * (1 + 1e-12)


def test_interpolation_is_exact_at_nodes_linear_between_and_straight_beyond():
    values = AXES[0][:, None] * 3 + AXES[1] * 2
    axes, wider = extended(AXES, values)
    x, y = np.array([1.0, 9.0, 3.0, 20.0, 9.0]), np.array([0.0, 1000.0, 55.0, 100.0, 5000.0])
    assert grid_at(axes, wider, x, y) == pytest.approx(3 * x + 2 * y)


def test_trilinear_interpolation_is_exact_on_a_plane():
    axes = (*AXES, np.array([0.0, 1.0, 7.0]))
    values = axes[0][:, None, None] + 2 * axes[1][:, None] + 5 * axes[2]
    x, y, z = np.array([1.0, 5.0, 16.0]), np.array([3.0, 500.0, 1000.0]), np.array([0.5, 6.0, 7.0])
    assert grid_at_3d(axes, values, x, y, z) == pytest.approx(x + 2 * y + 5 * z)


def lattice_of(decode):
    return LatticeTimes(
        source="silicon",
        prefill_band=None,
        decode_band=None,
        notes=(),
        tokens=np.array([1.0, 100.0, 1000.0]),
        prefill=np.array([5.0, 20.0, 150.0]),
        chunk=np.array([1.0, 1000.0]),
        prior=np.array([0.0, 1000.0]),
        prior_extra=np.array([[0.0, 0.01], [0.0, 40.0]]),
        batch=np.array([1.0, 8.0, 64.0]),
        context=np.array([1.0, 4096.0]),
        decode=decode,
    )


def test_a_mixed_step_is_consistent_with_its_parts():
    times = lattice_of(np.array([[4.0, 4.1], [4.5, 5.5], [6.0, 14.0]]))
    assert times.mixed_ms(0, 8, 4096) == pytest.approx(times.decode_ms(8, 4096))
    assert times.mixed_ms(100, 0, 0) == pytest.approx(times.prefill_ms(100))
    # 108 tokens through the layers, and what 8 contexts of 4096 add to a decode step.
    assert times.mixed_ms(100, 8, 4096) == pytest.approx(float(times.prefill_ms(108)) + 1.0)


def test_prompts_in_one_step_do_not_attend_to_each_other():
    times = lattice_of(np.array([[4.0, 4.1], [4.5, 5.5], [6.0, 14.0]]))
    alone, together = float(times.prefill_ms(500)), float(times.prefill_ms(500, 2))
    assert alone < together < float(times.prefill_ms(1000))
    assert float(times.prefill_ms(1000, 1, 1000)) == pytest.approx(190.0)


def test_context_part_is_zero_for_empty_requests_and_rises():
    part = context_part(np.array([[4.0, 4.5], [4.5, 4.7], [6.0, 9.0]]))
    assert part[:, 0] == pytest.approx([0, 0, 0])
    assert part[:, 1] == pytest.approx([0.5, 0.5, 3.0])
