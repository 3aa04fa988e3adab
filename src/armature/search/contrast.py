"""What decides between aggregated and disaggregated: the numbers behind the sentence.

Aggregated workers prefill in the steps that decode, which stretches the ITL; disaggregated ones move every prompt's
KV cache, and their prefill GPUs idle where whole numbers of workers do not match the rates of the two sides.
"""

from __future__ import annotations

from armature.search.binding import prefill_busy
from armature.search.candidates import Swept
from armature.search.operating import transfer_ms
from armature.search.placement import worker_slots
from armature.search.profile import Candidate, ModeContrast

__all__ = ["contrast"]


def contrast(swept: Swept, agg_row: int, agg: Candidate, disagg_row: int, disagg: Candidate) -> ModeContrast:
    """The numbers of an aggregated and a disaggregated row; `agg` and `disagg` are their candidates."""
    points, question = swept.points, swept.question
    main = swept.engines.mains[int(points.main[agg_row])]
    batch = max(float(points.batch[agg_row]), 1.0)
    decode_ms = float(main.times.decode_ms(batch, question.workload.mean_context))
    decode = swept.engines.mains[int(points.main[disagg_row])]
    prefill = swept.engines.prefills[int(points.prefill[disagg_row])]
    within_node = prefill.pool == decode.pool and disagg.gpus <= worker_slots(prefill.pool).size
    moved_ms = transfer_ms(question.facts, prefill, decode, question.workload, within_node=within_node)
    return ModeContrast(
        agg=agg.id,
        disagg=disagg.id,
        transfer_ms=moved_ms,
        transfer_itl_ms=moved_ms / max(question.workload.osl - 1, 1),
        prefill_busy=prefill_busy(swept, disagg_row),
        prefill_gpus=disagg.groups[0].gpus,
        interference_itl_ms=max(agg.itl_ms.value - decode_ms, 0.0),
    )
