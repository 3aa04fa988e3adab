"""The non-dominated set, once for every consumer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from armature.perf.estimate import Floats

__all__ = ["pareto_front"]


def pareto_front(x: Floats, y: Floats) -> npt.NDArray[np.intp]:
    """Indices of the points no other point beats, when both `x` and `y` are to be large; `x` ascending.

    A point is beaten when another is at least as good in both and better in one; of equal points the first stays.
    Points that are not finite are never on the front (GAP-01).
    """
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    order = finite[np.lexsort((finite, -y[finite], -x[finite]))]
    if not order.size:
        return order
    ys = y[order]
    best_before = np.concatenate(([-np.inf], np.maximum.accumulate(ys)[:-1]))
    return order[ys > best_before][::-1]
