"""The estimator library's own answer to a row: `cli_estimate` of aiconfigurator 0.12, the Python around the tables.

It is not among our dependencies: `pip install aiconfigurator==0.12.0` to have its figures beside ours in one run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import math
import warnings

from accuracy.predict import Answer, Engines
from accuracy.rows import Row
from armature.perf.silicon import library
from armature.perf.silicon.model_files import model_path

__all__ = ["installed", "library_answer"]


def installed() -> bool:
    return importlib.util.find_spec("aiconfigurator") is not None


def library_answer(row: Row, engines: Engines) -> Answer | None:
    """TTFT and TPOT as the library predicts them at the row's batch; None where it has no answer."""
    from aiconfigurator.cli.api import cli_estimate

    _remember_databases()
    deployment = row.deployment
    if deployment is None or deployment.drafts:
        return None
    spec = engines.spec(row, deployment.main)
    logging.disable(logging.CRITICAL)
    try:
        model, _ = model_path(spec.facts, *library._bundle())
        asked: dict[str, object] = {"backend_name": row.backend, "isl": row.isl, "osl": row.osl}
        lanes = deployment.count * deployment.main.dp
        batch = max(1, math.ceil(row.concurrency / lanes))
        if deployment.prefill is None:
            asked |= {"mode": "agg", "batch_size": batch, **_degrees(deployment.main, "")}
        else:
            asked |= {"mode": "disagg", "prefill_batch_size": 1, "decode_batch_size": batch}
            asked |= {"prefill_num_workers": deployment.prefill_count, "decode_num_workers": deployment.count}
            asked |= _degrees(deployment.prefill, "prefill_") | _degrees(deployment.main, "decode_")
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            found = cli_estimate(model, library.SYSTEMS[row.system], **asked)
    except Exception:  # a foreign program: whatever it raises means that it has no answer
        return None
    finally:
        logging.disable(logging.NOTSET)
    if not (found.ttft and found.tpot and math.isfinite(found.ttft) and math.isfinite(found.tpot)):
        return None
    return Answer(float(found.ttft), float(found.tpot), "silicon")


@functools.cache
def _remember_databases() -> None:
    """The library reads every version's YAML again for each question, 4 s of CPU each: once is enough here."""
    from aiconfigurator_core.sdk import perf_database

    perf_database.get_supported_databases = functools.cache(perf_database.get_supported_databases)


def _degrees(p, prefix: str) -> dict[str, object]:  # type: ignore[no-untyped-def]
    found = {"tp_size": p.tp, "pp_size": p.pp, "attention_dp_size": p.dp}
    if p.moe_tp * p.moe_ep > 1 or p.tp * p.dp == 1:
        found |= {"moe_tp_size": p.moe_tp, "moe_ep_size": p.moe_ep}
    return {f"{prefix}{name}": value for name, value in found.items()}
