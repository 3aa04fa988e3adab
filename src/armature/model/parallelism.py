"""How one worker's engine is spread over its GPUs.

The arithmetic is ENUM-06: `gpus = tp * pp * dp = moe_tp * moe_ep * pp`; a dense model has no experts and
leaves `moe_tp = moe_ep = 1`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Parallelism"]


@dataclass(frozen=True, slots=True, order=True)
class Parallelism:
    """Degrees of parallelism of one worker.

    tp: attention (and dense MLP) tensor parallelism. pp: pipeline stages. dp: attention-data-parallel ranks,
    each with its own requests and KV cache. moe_tp, moe_ep: tensor and expert parallelism of the routed
    experts over the same `tp * dp` GPUs of a stage; both 1 in a dense model.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    moe_tp: int = 1
    moe_ep: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one worker; attention-DP ranks are counted once (they are the GPUs, not a multiple)."""
        return self.tp * self.pp * self.dp

    @property
    def strategy(self) -> str:
        """`TP`, `TEP` (attention TP, expert EP), `DEP` (attention DP, expert EP) or `DTP` (attention DP, expert TP)."""
        if self.moe_ep == 1:
            return "TP" if self.dp == 1 else "DTP"
        return "TEP" if self.dp == 1 else "DEP"

    @property
    def label(self) -> str:
        """Short name in tables and ids: `tp4`, `tp4pp2`, `tep8`, `dep8`; mixed forms spell their degrees out, as in
        `tp2dp4ep8` or `tp8etp2ep4` (etp: tensor parallelism of the experts)."""
        width = self.tp * self.dp
        if self.dp in (1, width) and self.moe_ep in (1, width):
            base = f"{self.strategy.lower()}{width}"
        else:
            degrees = (("tp", self.tp), ("dp", self.dp), ("etp", self.moe_tp), ("ep", self.moe_ep))
            base = "".join(f"{name}{degree}" for name, degree in degrees if degree > 1)
        return base if self.pp == 1 else f"{base}pp{self.pp}"
