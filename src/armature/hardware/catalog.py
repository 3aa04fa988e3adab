"""The GPUs we know: one `Gpu` per SKU, each figure with its source and date, and the look-up by SKU.

The figures stand in `figures`; vendor product strings are read by `products`.
"""

from __future__ import annotations

from difflib import get_close_matches

from armature.errors import InvalidInput, Problem
from armature.hardware.figures import TABLE
from armature.hardware.gpu import DTYPES, LINKS, Flops, Gpu

__all__ = ["DTYPES", "GPUS", "LINKS", "SEED_SKUS", "Flops", "Gpu", "closest_sku", "find", "gpu"]

GPUS: dict[str, Gpu] = {row.sku: row for row in TABLE}
"""Every GPU by its canonical SKU; aliases are resolved by `gpu` and `find`."""

SEED_SKUS: tuple[str, ...] = (
    "gb200_sxm", "b200_sxm", "h200_sxm", "h100_sxm", "h100_pcie", "a100_sxm", "a100_pcie", "a30", "l40s", "l40", "l4",
    "v100_sxm", "v100_pcie", "t4", "mi200", "mi300",
)  # fmt: skip
"""The sixteen names of the published API (SKU-01); later ones are ours or newer Dynamo's."""

_BY_NAME: dict[str, Gpu] = {name: row for row in TABLE for name in (row.sku, *row.aliases)}


def find(sku: str) -> Gpu | None:
    """The GPU with this SKU or alias; letter case and `-` for `_` do not matter. None when there is none."""
    return _BY_NAME.get(_normal(sku))


def gpu(sku: str, *, path: str = "gpuSku") -> Gpu:
    """The GPU with this SKU or alias. Raises InvalidInput naming `path`, with the closest SKU."""
    found = find(sku)
    if found is not None:
        return found
    close = closest_sku(sku)
    mend = f"did you mean {close}?" if close else f"known SKUs: {', '.join(GPUS)}"
    raise InvalidInput(path, [Problem(path, "is not a known GPU SKU", mend, sku)])


def closest_sku(text: str) -> str | None:
    """The canonical SKU whose name looks most like `text`, or None when nothing does."""
    close = get_close_matches(_normal(text), _BY_NAME, n=1, cutoff=0.6)
    return _BY_NAME[close[0]].sku if close else None


def _normal(sku: str) -> str:
    return sku.strip().lower().replace("-", "_").replace(" ", "_")
