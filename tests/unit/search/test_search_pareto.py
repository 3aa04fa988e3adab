"""The front: finite and non-dominated (PAR-01, PAR-05, GAP-01)."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from armature.search.pareto import pareto_front

COORDINATE = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=16), st.integers(-3, 3).map(float)
)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=40)


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a != b


@given(POINTS)
def test_front_is_exactly_the_finite_points_nothing_beats(points):
    x = np.array([p[0] for p in points], dtype=float)
    y = np.array([p[1] for p in points], dtype=float)
    front = pareto_front(x, y)
    finite = [p for p in points if np.isfinite(p).all()]
    expected = {p for p in finite if not any(dominates(q, p) for q in finite)}
    assert {points[i] for i in front} == expected
    assert len(front) == len(expected), "of equal points one stays"
    assert list(x[front]) == sorted(x[front])


def test_no_points_give_an_empty_front():
    assert pareto_front(np.array([]), np.array([])).size == 0
    assert pareto_front(np.array([np.nan]), np.array([1.0])).size == 0
