"""What a mocker needs to stand in for a worker's engine: step times, KV blocks and limits.

They come from the profile when the worker is its pick's; from a file the user gives; else, for a foreign graph, from
an estimate: the model its flags name, the parallelism they ask for, and a GPU (the user's `--hardware`, the
graph's node selector, or the smallest usual one that the model fits). Reads model files and estimators' tables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec

from armature.errors import ArmatureError, InvalidInput, ModelUnknown, NothingFits, Problem
from armature.graph.component_view import ComponentView
from armature.graph.engine_flags import EngineFlags
from armature.hardware.catalog import Gpu, gpu
from armature.hardware.inventory import Pool
from armature.hardware.products import gpu_for_product
from armature.local.options import UpOptions
from armature.local.spec import Role
from armature.model.facts import ModelFacts
from armature.model.memory import Fit, default_kv_dtype, fit, smallest_parallelism
from armature.model.parallelism import Parallelism
from armature.model.resolve import resolve_model
from armature.perf.choose import estimator_for
from armature.perf.estimate import Backend, EngineSpec
from armature.perf.silicon import user_cache
from armature.perf.steptable import StepTable, TableTimes, sample
from armature.search.operating import CHUNK_TOKENS, Engine
from armature.search.profile import Group, Profile

__all__ = ["DEFAULT_SKUS", "EngineModel", "engine_for"]

DEFAULT_SKUS = ("h100_sxm", "h200_sxm", "b200_sxm")
"""GPUs to pretend to have when nobody says: the first that the worker fits."""

_MAX_NUM_SEQS: Mapping[str, int] = {"vllm": 256, "sglang": 256, "trtllm": 2048, "mocker": 256}
"""Requests at once when the flags do not say: defaults of vLLM's engine arguments, `dynamo.mocker` (ai-dynamo 1.6.1)
and TensorRT-LLM's LLM API. SGLang derives its own from memory; here the KV blocks bound it as well."""
_BLOCK_SIZE: Mapping[str, int] = {"vllm": 16, "sglang": 16, "trtllm": 32, "mocker": 64}
"""Tokens of a KV block when the flags do not say. SGLang's page of one token is simulated in blocks of 16."""
_MOST_TABLE_TOKENS = 131_072
_UNKNOWN_CONTEXT = 32_768
_UNKNOWN_ROOM_TOKENS = 262_144
_PRODUCT_LABEL = "nvidia.com/gpu.product"


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One worker's engine, as the mocker is told about it. Limits are per rank; ranks counts attention-DP ranks
    times pipeline stages, each of which runs batches of its own.

    engine: the same in the search's terms (for the KV transfer between two of them), None when the model is unknown.
    sku: GPU the times are of. origin: where the numbers come from, empty for the profile's own.
    """

    model: str
    served_name: str
    table: StepTable
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    block_size: int
    num_gpu_blocks: int
    ranks: int
    prefix_caching: bool = True
    tokenizer: Path | None = None
    sku: str = ""
    from_profile: bool = False
    engine: Engine | None = None
    facts: ModelFacts | None = None
    origin: str = ""
    notes: tuple[str, ...] = ()


def engine_for(
    view: ComponentView,
    role: Role,
    *,
    profile: Profile | None,
    options: UpOptions,
    extras: Sequence[Mapping[str, Any]] = (),
) -> EngineModel:
    """The engine of a worker.

    Raises InvalidInput when it names no model, ModelUnknown when nothing is known about the model and no step table
    was given, NothingFits when it does not fit the GPUs that were asked for.
    """
    group = _group(view, role, profile)
    table = _given_table(view, options, extras)
    names = _names(view, profile if group is not None else None)
    try:
        facts = _facts(names, offline=options.offline or group is not None)
    except ModelUnknown:
        if group is None and table is None:
            raise
        facts = None
    if profile is not None and group is not None:
        made = _from_profile(view, role, group, profile, facts, names)
    elif facts is not None:
        made = _estimated(view, facts, names, options, table)
    else:
        made = _blind(view, names, cast(StepTable, table))
    limits = view.flags.value("--num-gpu-blocks-override")
    if limits is not None and limits.isdigit() and int(limits) > 0:
        made = replace(made, num_gpu_blocks=int(limits))
    return replace(made, prefix_caching=_prefix_caching(view.flags))


def _group(view: ComponentView, role: Role, profile: Profile | None) -> Group | None:
    """The pick's group whose engine this worker is: same model and, as far as the flags tell, same parallelism."""
    if profile is None or role not in profile.step_tables:
        return None
    group, flags = profile.picked.group(role), view.flags
    if group is None or profile.model not in (flags.model, flags.served_name):
        return None
    asked = (flags.parallelism.tp, flags.parallelism.pp, flags.parallelism.dp)
    return group if not flags.sized or asked == (group.tp, group.pp, group.dp) else None


def _from_profile(
    view: ComponentView,
    role: Role,
    group: Group,
    profile: Profile,
    facts: ModelFacts | None,
    names: tuple[str, ...],
) -> EngineModel:
    table = profile.step_tables[role]
    backend = profile.picked.backend
    made = _limited(
        view,
        EngineModel(
            model=profile.model,
            served_name=names[0],
            table=table,
            max_num_seqs=view.flags.max_num_seqs or group.max_num_seqs,
            max_num_batched_tokens=view.flags.max_batched_tokens or group.chunk_tokens,
            max_model_len=view.flags.max_model_len or profile.model_max_context or _UNKNOWN_CONTEXT,
            block_size=view.flags.block_size or _BLOCK_SIZE[view.flags.module],
            num_gpu_blocks=1,
            ranks=group.dp * group.pp,
            sku=group.sku,
            from_profile=True,
        ),
        group.kv_room_tokens,
        group.pp,
    )
    if facts is None:
        return made
    pool = _pool(gpu(group.sku), group.gpus_per_node)
    fitted = _fit(facts, group.parallelism, pool.gpu, made, group.kv_dtype, view.flags)
    engine = Engine(backend, pool, group.parallelism, group.kv_dtype, TableTimes(table), fitted)
    return replace(made, tokenizer=facts.tokenizer_dir, engine=engine, facts=facts)


def _estimated(
    view: ComponentView,
    facts: ModelFacts,
    names: tuple[str, ...],
    options: UpOptions,
    table: StepTable | None,
) -> EngineModel:
    flags = view.flags
    backend = cast(Backend, flags.module if flags.module in ("vllm", "sglang", "trtllm") else "vllm")
    seqs = flags.max_num_seqs or _MAX_NUM_SEQS[flags.module]
    length = min(flags.max_model_len or facts.max_context, facts.max_context) or _UNKNOWN_CONTEXT
    made = EngineModel(
        model=facts.name,
        served_name=names[0],
        table=table or _EMPTY,
        max_num_seqs=seqs,
        max_num_batched_tokens=flags.max_batched_tokens or CHUNK_TOKENS,
        max_model_len=length,
        block_size=flags.block_size or _BLOCK_SIZE[flags.module],
        num_gpu_blocks=1,
        ranks=1,
        tokenizer=facts.tokenizer_dir,
        facts=facts,
    )
    pool, parallelism, kv_dtype, fitted, why = _placed(view, facts, made, options)
    if table is None:
        estimator = estimator_for("auto", cache=user_cache(os.environ))
        times = estimator.engine(EngineSpec(facts, pool.gpu, backend, parallelism, kv_dtype))
        longest = min(length, _MOST_TABLE_TOKENS)
        table = sample(
            times,
            max_isl=longest,
            max_batch=min(seqs, 1024),
            max_context=longest,
            max_chunk=made.max_num_batched_tokens,
        )
        origin = f"step times estimated ({table.source}) for {parallelism.label} on {pool.gpu.sku}{why}"
    else:
        origin = "step times from the given table"
    engine = Engine(backend, pool, parallelism, kv_dtype, TableTimes(table), fitted)
    made = replace(
        made,
        table=table,
        ranks=parallelism.dp * parallelism.pp,
        sku=pool.gpu.sku,
        engine=engine,
        origin=origin,
        notes=table.notes,
    )
    return _limited(view, made, fitted.kv_room_tokens, parallelism.pp)


def _blind(view: ComponentView, names: tuple[str, ...], table: StepTable) -> EngineModel:
    """A model nothing is known about, on step times the user gave."""
    flags = view.flags
    length = flags.max_model_len or _UNKNOWN_CONTEXT
    made = EngineModel(
        model=names[-1],
        served_name=names[0],
        table=table,
        max_num_seqs=flags.max_num_seqs or _MAX_NUM_SEQS[flags.module],
        max_num_batched_tokens=flags.max_batched_tokens or CHUNK_TOKENS,
        max_model_len=length,
        block_size=flags.block_size or _BLOCK_SIZE[flags.module],
        num_gpu_blocks=1,
        ranks=flags.parallelism.dp * flags.parallelism.pp,
        origin=f"nothing is known about {names[0]}: step times from the given table, a KV cache of "
        f"{_UNKNOWN_ROOM_TOKENS:,} tokens and a context of {length:,} assumed",
    )
    return _limited(view, made, _UNKNOWN_ROOM_TOKENS, flags.parallelism.pp)


_EMPTY = StepTable("estimated", (1.0,), (0.0,), (1.0,), (1.0,), (1.0,), ((0.0,),), (((0.0,),),))


def _limited(view: ComponentView, made: EngineModel, kv_room_tokens: int, stages: int) -> EngineModel:
    """With the KV room of a rank in blocks, shared out to its pipeline stages as its request limit is."""
    blocks = max(1, kv_room_tokens // made.block_size // stages)
    return replace(made, num_gpu_blocks=blocks, max_num_seqs=max(1, -(-made.max_num_seqs // stages)))


def _placed(
    view: ComponentView, facts: ModelFacts, made: EngineModel, options: UpOptions
) -> tuple[Pool, Parallelism, str, Fit, str]:
    """(pool, parallelism, KV dtype, fit, what to say about the choice) of the first GPU that holds the worker."""
    pools, why = _pools(view, options)
    last: Fit | None = None
    for pool in pools:
        has_fp8 = "fp8" in pool.gpu.flops
        asked = view.flags.kv_dtype or ""
        kv_dtype = "fp8" if "fp8" in asked and has_fp8 else default_kv_dtype(facts, has_fp8)
        parallelism = _parallelism(view, facts, pool, made, kv_dtype)
        last = _fit(facts, parallelism, pool.gpu, made, kv_dtype, view.flags)
        if last.fits:
            return pool, parallelism, kv_dtype, last, why
    skus = ", ".join(pool.gpu.sku for pool in pools)
    raise NothingFits(
        f"{view.path} ({view.name}): {facts.name} does not fit {skus}: {last.reason if last else 'no GPU'}.",
        "Give the GPUs it is meant for with --hardware, or another parallelism in its flags.",
    )


def _pools(view: ComponentView, options: UpOptions) -> tuple[tuple[Pool, ...], str]:
    if options.hardware is not None and options.hardware.pools:
        return options.hardware.pools, ""
    product = _asked_product(view.pod)
    if product:
        return (_pool(gpu_for_product(str(product))),), ", the GPU its pod asks for"
    return tuple(
        _pool(gpu(sku)) for sku in DEFAULT_SKUS
    ), ", a GPU assumed because nobody named one (--hardware does)"


def _asked_product(pod: Mapping[str, Any]) -> str | None:
    """The GPU product that a pod's node selector or node affinity asks for."""
    selector = pod.get("nodeSelector")
    if isinstance(selector, Mapping) and (product := selector.get(_PRODUCT_LABEL)):
        return str(product)
    found: Any = pod.get("affinity")
    for key in ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        found = found.get(key) if isinstance(found, Mapping) else None
    terms = found.get("nodeSelectorTerms") if isinstance(found, Mapping) else None
    for term in terms if isinstance(terms, list) else ():
        for rule in (term.get("matchExpressions") or ()) if isinstance(term, Mapping) else ():
            if rule.get("key") == _PRODUCT_LABEL and rule.get("operator") == "In" and rule.get("values"):
                return str(rule["values"][0])
    return None


def _parallelism(
    view: ComponentView, facts: ModelFacts, pool: Pool, made: EngineModel, kv_dtype: str
) -> Parallelism:
    """As the flags ask. Where they do not tell, tensor parallel over the GPUs of the worker, and for a mocker, which
    has none, the smallest layout that holds the model. Routed experts that no flag splits are split by tensor."""
    flags = view.flags
    found = flags.parallelism
    if not flags.sized and found.gpus == found.dp:
        gpus = view.gpus_per_pod * view.nodes
        if gpus > 1:
            found = Parallelism(tp=max(1, gpus // found.dp), dp=found.dp)
        elif flags.module == "mocker":
            smallest = smallest_parallelism(
                facts,
                vram_bytes=pool.gpu.vram_bytes,
                sequence_tokens=made.max_model_len,
                prefill_tokens=made.max_num_batched_tokens,
                kv_dtype=kv_dtype,
            )
            found = replace(smallest, dp=found.dp) if smallest is not None and found.dp == 1 else found
    if facts.is_moe and found.moe_tp * found.moe_ep != found.tp * found.dp:
        found = replace(found, moe_tp=max(1, found.tp * found.dp // found.moe_ep))
    return found


def _fit(
    facts: ModelFacts, parallelism: Parallelism, on: Gpu, made: EngineModel, kv_dtype: str, flags: EngineFlags
) -> Fit:
    share = flags.value("--gpu-memory-utilization") or flags.value("--mem-fraction-static")
    try:
        fraction = float(share) if share is not None else 0.9
    except ValueError:
        fraction = 0.9
    return fit(
        facts,
        parallelism,
        vram_bytes=on.vram_bytes,
        sequence_tokens=made.max_model_len,
        prefill_tokens=made.max_num_batched_tokens,
        kv_dtype=kv_dtype,
        memory_fraction=fraction,
    )


def _pool(on: Gpu, gpus_per_node: int | None = None) -> Pool:
    per_node = gpus_per_node or on.gpus_per_node
    return Pool(on, per_node, per_node, 1)


def _names(view: ComponentView, profile: Profile | None) -> tuple[str, ...]:
    """Names of the model, the served one first."""
    flags = view.flags
    given = (flags.served_name, flags.model, profile.model if profile is not None else None)
    names = tuple(dict.fromkeys(name for name in given if name))
    if not names:
        rule = "names no model"
        mend = "add the engine's model flag (--model or --model-path)"
        raise InvalidInput(view.name, [Problem(f"{view.container_path}.args", rule, mend)])
    return names


def _facts(names: Sequence[str], *, offline: bool) -> ModelFacts:
    """Facts under the first name that is known; a path that is not on this machine is passed over when there is
    another name. Raises ModelUnknown."""
    by_preference = sorted(names, key=lambda name: not Path(name).is_dir())
    usable = [name for name in by_preference if not name.startswith("/") or Path(name).exists()]
    error: ModelUnknown | None = None
    for name in usable or by_preference:
        try:
            return resolve_model(name, offline=offline)
        except ModelUnknown as unknown:
            error = error or unknown
    raise error or ModelUnknown(f"Nothing is known about {names[0]}.")


def _given_table(
    view: ComponentView, options: UpOptions, extras: Sequence[Mapping[str, Any]]
) -> StepTable | None:
    """Step times from the user's file, or from `step_table.json` in a ConfigMap that the worker mounts."""
    if options.step_table is not None:
        try:
            return msgspec.json.decode(options.step_table.read_bytes(), type=StepTable)
        except (OSError, msgspec.MsgspecError) as error:
            problem = Problem(
                "--step-table", f"is not a file of step times: {error}", value=str(options.step_table)
            )
            raise InvalidInput("--step-table", [problem]) from None
    mounted = {
        str((volume.get("configMap") or {}).get("name"))
        for volume in view.volumes.values()
        if volume.get("configMap")
    }
    for extra in extras:
        text = (extra.get("data") or {}).get("step_table.json")
        if text is not None and (extra.get("metadata") or {}).get("name") in mounted:
            try:
                return msgspec.json.decode(text, type=StepTable)
            except msgspec.MsgspecError as error:
                name = (extra.get("metadata") or {}).get("name")
                raise ArmatureError(f"ConfigMap {name}: step_table.json is no step table: {error}.") from None
    return None


def _prefix_caching(flags: EngineFlags) -> bool:
    return "--no-enable-prefix-caching" not in flags.options and "--disable-radix-cache" not in flags.options
