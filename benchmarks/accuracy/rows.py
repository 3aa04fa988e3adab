"""The 5,221 end-to-end measurements that the estimator library ships, each as a deployment that can be estimated.

What the columns mean, learnt from the file itself (`docs/accuracy.md` tells it in full):

- `silicon_concurrency` in the source column is the number of requests always in flight, over the whole deployment.
- A row says `tp N, ep M`: N GPUs. The degrees of many rows are a product of that (`tp 64, moe 8 x 8` is TP 8 with EP 8;
  `tp 4, attention-DP 4, EP 16` is four ranks with EP 4), so the id's `tpN_epM` goes first where it is there.
- Dense models have no ranks, so where a row's concurrency is a multiple of its batch, so many replicas ran.
- Many rows are the same run twice or three times, under the names of the dumps they came through, and DeepSeek-R1's
  also as DeepSeek-V3: `run` is one key for all of them, and a model and its renamed twin are one group.
- Disaggregated rows mostly leave out how many workers ran: it is taken from a twin of the same run that says so, else
  from the public description of the benchmark (`disagg_runs.txt`), which also tells which runs speculated.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from armature.model.parallelism import Parallelism
from armature.perf.estimate import Backend

__all__ = ["Deployment", "Row", "read_rows"]

RUNS = Path(__file__).with_name("disagg_runs.txt")
LENGTHS = {"1k1k": (1024, 1024), "1k8k": (1024, 8192), "8k1k": (8192, 1024)}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Workers of a row: aggregated ones in `main`, or decode workers there and `prefill` ones; `count` of each.

    slots: requests that a rank of `main` runs at once at most, where a run was started with such a limit. drafts:
    tokens that multi-token prediction guesses in each step."""

    main: Parallelism
    count: int = 1
    prefill: Parallelism | None = None
    prefill_count: int = 0
    slots: int | None = None
    drafts: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. deployment is None when the row cannot be laid out; `cause` says why."""

    id: str
    run: tuple[str, ...]
    mode: str
    model: str
    family: str
    precision: str
    gemm: str
    system: str
    backend: Backend
    version: str
    isl: int
    osl: int
    concurrency: float
    ttft_ms: float
    tpot_ms: float
    deployment: Deployment | None = None
    cause: str = ""

    @property
    def group(self) -> tuple[str, str]:
        """Model and system: what a split keeps together."""
        return self.family, self.system


def read_rows(path: Path | None = None) -> list[Row]:
    """Every row of the table."""
    with (path or table()).open(encoding="utf-8", newline="") as file:
        raws = list(csv.DictReader(file))
    rows = [_row(raw) for raw in raws]
    stated = {row.run: row for raw, row in zip(raws, rows, strict=True) if raw["decode_num_workers"]}
    rows = list(_with_runs([_from_twin(row, stated) for row in rows], raws))
    return list(_without_speculation(rows, raws))


def table() -> Path:
    spec = find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise SystemExit("the measurements come with aiconfigurator-core: pip install it")
    return Path(spec.origin).parent / "systems" / "silicon_sample.csv"


def _row(raw: Mapping[str, str]) -> Row:
    stated = re.search(r"silicon_concurrency=(\d+)", raw["silicon_data_source"])
    deployment, cause = _aggregated(raw) if raw["mode"] == "agg" else _disaggregated(raw)
    if stated:
        concurrency = float(stated.group(1))
    elif raw["mode"] == "agg":
        concurrency = float(raw["batch_size"] or 0) * max(_degree(raw["attention_dp_size"]), 1)
    elif deployment:
        concurrency = float(raw["decode_batch_size"]) * deployment.count * deployment.main.dp
    else:
        concurrency = 0.0
    if concurrency <= 0:
        deployment, cause = None, "concurrency not recorded"
    elif deployment and raw["mode"] == "agg" and is_dense(raw["model_path"]):
        deployment = replace(deployment, count=max(round(concurrency / float(raw["batch_size"] or 1)), 1))
    family = family_of(raw["model_path"])
    run = (
        family,
        raw["system"],
        raw["backend"],
        raw["mode"],
        raw["silicon_ttft_ms"][:8],
        raw["silicon_tpot_ms"][:8],
    )
    return Row(
        id=raw["id"],
        run=run,
        mode=raw["mode"],
        model=raw["model_path"],
        family=family,
        precision=raw["precision"],
        gemm=raw["gemm_quant_mode"],
        system=raw["system"],
        backend=raw["backend"],  # type: ignore[arg-type]  # one of the three, or it has no engine
        version=raw["backend_version"],
        isl=int(raw["isl"]),
        osl=int(raw["osl"]),
        concurrency=concurrency,
        ttft_ms=float(raw["silicon_ttft_ms"]),
        tpot_ms=float(raw["silicon_tpot_ms"]),
        deployment=deployment,
        cause=cause,
    )


def family_of(model: str) -> str:
    """One name for a model and for its renamed, requantised or retrained twins of the same shape."""
    name = model.split("/")[-1]
    if name.startswith("DeepSeek-"):
        return "DeepSeek-R1"
    for known in ("Qwen3-32B", "Llama-3.1-8B", "Llama-3.1-70B", "Qwen3-235B-A22B"):
        if name.startswith(known):
            return known
    return name


def _degree(text: str) -> int:
    return int(text) if text else 0


def is_dense(model: str) -> bool:
    return family_of(model) in ("Qwen3-32B", "Llama-3.1-8B", "Llama-3.1-70B")


def layout(gpus: int, ep: int, dp_attention: bool, dense: bool = False) -> Parallelism:
    """`gpus` GPUs with expert parallelism `ep`, attention split over ranks or by tensors."""
    if dense:
        return Parallelism(tp=gpus)
    tp, dp = (1, gpus) if dp_attention else (gpus, 1)
    return Parallelism(tp=tp, dp=dp, moe_tp=max(gpus // max(ep, 1), 1), moe_ep=max(ep, 1))


def _aggregated(raw: Mapping[str, str]) -> tuple[Deployment | None, str]:
    tp, dp = max(_degree(raw["tp_size"]), 1), max(_degree(raw["attention_dp_size"]), 1)
    moe_tp, moe_ep = max(_degree(raw["moe_tp_size"]), 1), max(_degree(raw["moe_ep_size"]), 1)
    if is_dense(raw["model_path"]):
        return (Deployment(Parallelism(tp=tp)), "") if dp == 1 else (None, "attention-DP of a dense model")
    if tp >= 12 and dp == 1 and moe_tp == tp and raw["system"] == "gb200":
        return None, "a disaggregated run filed as aggregated"  # 12 to 72 GPUs; their split is lost
    named = re.search(r"_tp(\d+)_(?:\d_)?ep(\d+)", raw["id"])
    if named:
        gpus, ep = int(named.group(1)), int(named.group(2))
        return Deployment(layout(gpus, ep, dp > 1)), ""
    if dp == 1 and tp == moe_tp * moe_ep and moe_tp == moe_ep > 1 and tp > 8:
        return Deployment(layout(moe_ep, moe_ep, False)), ""
    if tp == dp > 1 and moe_tp == 1 and moe_ep == tp * dp:
        return Deployment(layout(tp, tp, True)), ""
    if tp == 1 and dp > 8 and moe_tp == moe_ep:
        return Deployment(layout(moe_ep, moe_ep, True)), ""
    if tp * dp != moe_tp * moe_ep:
        ranks = moe_tp * moe_ep // tp
        if not raw["attention_dp_size"] and ranks > 1 and ranks * tp == moe_tp * moe_ep:
            return Deployment(Parallelism(tp=tp, dp=ranks, moe_tp=moe_tp, moe_ep=moe_ep)), ""
        if dp == 1:  # the experts' split is not recorded: it follows the attention's
            return Deployment(layout(tp, moe_ep if moe_ep in (1, tp) else 1, False)), ""
        return None, "degrees that contradict each other"
    return Deployment(Parallelism(tp=tp, dp=dp, moe_tp=moe_tp, moe_ep=moe_ep)), ""


def _disaggregated(raw: Mapping[str, str]) -> tuple[Deployment | None, str]:
    if not raw["decode_num_workers"]:
        return None, "workers not recorded"
    sides = []
    for side in ("prefill", "decode"):
        tp, dp = max(_degree(raw[f"{side}_tp_size"]), 1), max(_degree(raw[f"{side}_attention_dp_size"]), 1)
        moe_tp, moe_ep = _degree(raw[f"{side}_moe_tp_size"]), _degree(raw[f"{side}_moe_ep_size"])
        if is_dense(raw["model_path"]):
            sides.append(Parallelism(tp=tp))
        elif moe_tp * moe_ep != tp * dp:
            sides.append(layout(tp * dp, tp * dp if dp > 1 else 1, dp > 1))
        else:
            sides.append(Parallelism(tp=tp, dp=dp, moe_tp=moe_tp, moe_ep=moe_ep))
    return (
        Deployment(sides[1], int(raw["decode_num_workers"]), sides[0], int(raw["prefill_num_workers"])),
        "",
    )


def _from_twin(row: Row, stated: Mapping[tuple[str, ...], Row]) -> Row:
    twin = stated.get(row.run)
    if row.deployment is None and twin is not None and twin.deployment is not None:
        return replace(row, deployment=twin.deployment, concurrency=twin.concurrency, cause="")
    return row


@dataclass(frozen=True, slots=True)
class _Run:
    tokens: str
    deployment: Deployment


@cache
def _runs() -> Mapping[tuple[object, ...], tuple[_Run, ...]]:
    """Public runs by family, precision, system, engine, lengths and concurrency."""
    found: dict[tuple[object, ...], list[_Run]] = defaultdict(list)
    for line in RUNS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        model, precision, system, engine, lengths, tokens, loads, prefill, decode = line.split()
        (p, prefill_layout), (d, decode_layout) = _side(prefill), _side(decode)
        family = {"dsr1": "DeepSeek-R1", "gptoss": "gpt-oss-120b"}[model]
        system = system + "_sxm" if system in ("b200", "b300", "h100", "h200") else system
        for load in loads.split(","):
            concurrency, _, slots = load.partition("/")
            key = (family, precision, system, engine, *LENGTHS[lengths], float(concurrency))
            drafts = int(tokens[1]) if tokens[1] != "?" else 0
            limit = int(slots) if slots else None
            run = _Run(tokens, Deployment(decode_layout, d, prefill_layout, p, limit, drafts))
            if run not in found[key]:
                found[key].append(run)
    return {key: tuple(runs) for key, runs in found.items()}


def _side(text: str) -> tuple[int, Parallelism]:
    count, rest = text.split("x")
    gpus, kind = int(rest[:-1]), rest[-1]
    return int(count), layout(gpus, gpus if kind in "de" else 1, kind in "da")


def _with_runs(rows: Sequence[Row], raws: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """Lays out disaggregated rows by the public description of their run, where there is exactly one that fits.

    Runs of one description that differ only in speculation are told apart by speed: of two measured TPOTs of one
    configuration and load the lower one speculated. A single value stays untold.
    """
    wanted: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (row, raw) in enumerate(zip(rows, raws, strict=True)):
        if row.mode == "disagg" and row.deployment is None:
            names = ("prefill_tp_size", "decode_tp_size", "prefill_moe_ep_size")
            sizes = (_degree(raw[name]) for name in names)
            wanted[(*_load_of(row), *sizes)].append(index)
    stated: dict[tuple[object, ...], list[_Run]] = defaultdict(list)
    for row, raw in zip(rows, raws, strict=True):
        if row.mode == "disagg" and row.deployment is not None and raw["decode_num_workers"]:
            known = (*_runs().get(_load_of(row), ()), *stated[_load_of(row)])
            if not any(_same(run.deployment, row.deployment) for run in known if run.tokens == "m0"):
                stated[_load_of(row)].append(_Run("m0", row.deployment))
    answered = [_limited(row) for row in rows]
    for (*load, prefill, decode, ep), indices in wanted.items():
        runs = dict.fromkeys((*_runs().get(tuple(load), ()), *stated.get(tuple(load), ())))
        fitting = [run for run in runs if _fits(run.deployment, prefill, decode, ep)]
        for index, (run, cause) in _assigned(rows, indices, fitting).items():
            answered[index] = replace(rows[index], deployment=run and run.deployment, cause=cause)
    return iter(answered)


def _without_speculation(rows: Sequence[Row], raws: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """Takes the deployment from aggregated runs of DeepSeek-R1 that speculated, which the table does not tell.

    The benchmark's TensorRT-LLM 1.2.0rc6.post3 served only runs with multi-token prediction. Of several runs of one
    engine version, layout and load, one that took less than 0.8 of the slowest one's TPOT speculated, unless a dump
    that holds none (`db-dump`) has it too.
    """
    plain = {
        row.run
        for row, raw in zip(rows, raws, strict=True)
        if raw["silicon_data_source"].startswith("db-dump")
    }
    slowest: dict[tuple[object, ...], float] = defaultdict(float)
    for row in rows:
        slowest[_experiment(row)] = max(slowest[_experiment(row)], row.tpot_ms)
    for row in rows:
        suspect = (
            row.mode == "agg"
            and row.family == "DeepSeek-R1"
            and row.backend != "vllm"
            and row.run not in plain
        )
        faster = row.tpot_ms < 0.8 * slowest[_experiment(row)]
        if suspect and (faster or (row.backend == "trtllm" and row.version == "1.2.0rc6.post3")):
            yield replace(row, deployment=None, cause="speculative decoding")
        else:
            yield row


def _experiment(row: Row) -> tuple[object, ...]:
    return (*_load_of(row), row.deployment)


def _same(one: Deployment, other: Deployment) -> bool:
    return replace(one, slots=None) == replace(other, slots=None)


def _limited(row: Row) -> Row:
    """A row that says its workers, with the limit that the public description of the run gives each rank."""
    if row.mode == "agg" or row.deployment is None:
        return row
    for run in _runs().get(_load_of(row), ()):
        if run.tokens == "m0" and _same(run.deployment, row.deployment):
            return replace(row, deployment=run.deployment)
    return row


def _load_of(row: Row) -> tuple[object, ...]:
    return row.family, row.precision, row.system, row.backend, row.isl, row.osl, row.concurrency


def _fits(deployment: Deployment, prefill: int, decode: int, ep: int) -> bool:
    """Whether a run has a row's GPUs per worker; an expert parallelism of 1 may also mean that none was recorded."""
    assert deployment.prefill is not None
    if prefill == decode and prefill > 8:  # older rows give the GPUs of the whole deployment
        whole = deployment.prefill_count * deployment.prefill.gpus + deployment.count * deployment.main.gpus
        if whole == prefill:
            return True
    same_ep = ep in (1, deployment.prefill.moe_ep)
    return same_ep and deployment.prefill.gpus == prefill and deployment.main.gpus == decode


def _assigned(
    rows: Sequence[Row], indices: Sequence[int], runs: Sequence[_Run]
) -> dict[int, tuple[_Run | None, str]]:
    if not runs:
        return dict.fromkeys(indices, (None, "workers not recorded"))
    plain, guessing = [r for r in runs if r.tokens == "m0"], [r for r in runs if r.tokens != "m0"]
    if not plain or not guessing:
        return {index: _only(plain or guessing) for index in indices}
    speeds = sorted({rows[index].tpot_ms for index in indices})
    gap = max((b / a for a, b in pairwise(speeds)), default=1.0)
    if gap < 1.1:
        return dict.fromkeys(indices, (None, "with or without speculation"))
    cut = max(b for a, b in pairwise(speeds) if b / a == gap)
    return {index: _only(plain if rows[index].tpot_ms >= cut else guessing) for index in indices}


def _only(runs: Sequence[_Run]) -> tuple[_Run | None, str]:
    if len(runs) > 1:
        return None, "one of several runs"
    return (None, "speculation of unknown length") if runs[0].tokens == "m?" else (runs[0], "")
