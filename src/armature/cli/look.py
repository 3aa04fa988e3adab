"""The commands that only look: `validate`, `hardware`, `models`, `support`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from armature.cli.output import print_rows
from armature.errors import HardwareUnknown, InvalidInput, ModelUnknown, Problem

if TYPE_CHECKING:
    from armature.api import Resource
    from armature.hardware.catalog import Gpu
    from armature.hardware.inventory import Inventory
    from armature.model.facts import ModelFacts
    from armature.perf.estimate import Backend
    from armature.perf.silicon import SiliconEstimator

__all__ = ["register"]

_GB, _GIB = 1e9, 2**30
_SEQUENCE_TOKENS = 8192  # what one request holds where a command must assume a length
_MODEL = typer.Argument(metavar="MODEL", help="A model name, or a directory with config.json.")
_OFFLINE = typer.Option("--offline", help="Never ask the model hub.")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("validate")(validate)
    app.command("hardware")(hardware)
    app.command("models")(models)
    app.command("support")(support)


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Manifests; `-` reads stdin.")],
) -> None:
    """Check files: every problem of every document."""
    from armature.api import to_v1beta1, warnings_of
    from armature.cli.files import read_resources

    problems: list[Problem] = []
    for file in files:
        try:
            resources = read_resources(file)
        except InvalidInput as error:
            problems += [Problem(f"{file}: {p.path}", p.rule, p.mend, p.value) for p in error.problems]
            continue
        for resource in resources:
            print(f"ok {file}: {resource.kind} {resource.metadata.name}")
            newest, _ = to_v1beta1(resource)
            for warning in (*warnings_of(resource), *_start_warnings(newest)):
                print(f"   warning: {warning}")
    if problems:
        raise InvalidInput("validate", problems)


def _start_warnings(resource: Resource) -> Sequence[str]:
    """Why a graph that loads would not start."""
    from armature.api.v1beta1 import DynamoGraphDeployment
    from armature.graph.preflight import preflight

    if not isinstance(resource, DynamoGraphDeployment):
        return ()
    return [f"would not start: {problem}" for problem in preflight(resource)]


def hardware(
    product: Annotated[
        str | None,
        typer.Argument(metavar="PRODUCT", help="A vendor's product string, such as a node's label."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--hardware", metavar="GPUS", help="Explain a --hardware value: 2x8xh200_sxm."),
    ] = None,
    catalog: Annotated[bool, typer.Option("--catalog", help="List the GPUs we know.")] = False,
) -> None:
    """Show the GPUs of this machine, of a description, or all we know."""
    from armature.hardware.catalog import GPUS

    if catalog:
        _print_gpus(GPUS.values())
    if product is not None:
        from armature.hardware.products import gpu_for_product

        _print_gpus([gpu_for_product(product)])
    if text is not None:
        from armature.hardware.inventory import parse_hardware

        _print_inventory(parse_hardware(text))
    if catalog or product is not None or text is not None:
        return
    from armature.hardware.discover_local import discover_local

    found = discover_local()
    if found is None:
        raise HardwareUnknown(
            "No GPU was found on this machine.",
            "Planning needs none: say what to plan for with --hardware 8xh200_sxm; --catalog lists the SKUs.",
        )
    _print_inventory(found)


def _print_gpus(gpus: Iterable[Gpu]) -> None:
    rows: list[Sequence[str]] = [
        ("SKU", "memory GiB", "TB/s", "fp16 TFLOPS", "fp8 TFLOPS", "link", "GPUs/node", "W", "figures from")
    ]
    for gpu in gpus:
        flops = [f"{gpu.flops[d] / 1e12:,.0f}" if d in gpu.flops else "-" for d in ("fp16", "fp8")]
        source = f"{gpu.source} ({gpu.as_of})" + (", estimated" if gpu.estimated else "")
        rows.append(
            (
                gpu.sku,
                f"{gpu.vram_bytes / _GIB:,.0f}",
                f"{gpu.bandwidth_bytes_per_s / 1e12:.2f}",
                *flops,
                gpu.link,
                str(gpu.gpus_per_node),
                f"{gpu.board_power_w:,.0f}",
                source,
            )
        )
    print_rows(rows, left={0, 5, 8})


def _print_inventory(inventory: Inventory) -> None:
    rows: list[Sequence[str]] = [("SKU", "GPUs", "nodes", "GPUs/node", "memory GiB", "RDMA")]
    for pool in inventory.pools:
        rdma = pool.rdma_resource or ("yes" if pool.rdma else "not known")
        memory = f"{pool.gpu.vram_bytes / _GIB:,.0f}"
        counts = (str(pool.gpus), str(pool.nodes), str(pool.gpus_per_node))
        rows.append((pool.gpu.sku + (" (estimated)" if pool.gpu.estimated else ""), *counts, memory, rdma))
    print_rows(rows, left={0, 5})
    print(f"source: {inventory.source}")
    for note in inventory.notes:
        print(f"note: {note}")


def models(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="[PATTERN]", help="Part of a name; a whole name or a directory: its facts."),
    ] = None,
    offline: Annotated[bool, _OFFLINE] = False,
) -> None:
    """List bundled models, or show one: its size, the GPUs it needs."""
    from armature.model.resolve import bundled_models, resolve_model

    names = bundled_models()
    if pattern is None:
        print("\n".join(names))
        return
    matches = [name for name in names if pattern.lower() in name.lower()]
    if pattern in names or ("/" in pattern and not matches) or Path(pattern).is_dir():
        _print_model(resolve_model(pattern, offline=offline))
    elif len(matches) == 1:
        _print_model(resolve_model(matches[0], offline=offline))
    elif matches:
        print("\n".join(matches))
    else:
        raise ModelUnknown(
            f"No bundled model is called like {pattern!r}.",
            "`armature models` lists them; a whole name (org/model) is looked up on the hub.",
        )


def _print_model(facts: ModelFacts) -> None:
    from armature.hardware.catalog import GPUS

    attention, moe, quantisation = facts.attention, facts.moe, facts.quantisation
    heads = f"{attention.heads} heads, "
    if attention.kind == "mla":
        heads += f"{attention.kv_lora_rank} + {attention.rope_head_dim} elements of KV per token"
    else:
        heads += f"{attention.kv_heads} KV heads of {attention.head_dim}"
    experts = f"{moe.experts} experts, {moe.experts_per_token} per token" if moe else "none"
    said = [
        ("model", facts.name),
        ("architecture", f"{facts.architecture}, {facts.layers} layers, hidden {facts.hidden:,}"),
        ("attention", f"{attention.kind.upper()}, {heads}"),
        ("experts", experts),
        ("parameters", f"{facts.params / 1e9:,.1f} B, {facts.active_params / 1e9:,.1f} B used per token"),
        (
            "weights",
            f"{facts.weight_bytes / _GB:,.1f} GB ({', '.join(_dtypes(quantisation, moe is not None))})",
        ),
        ("context", f"{facts.max_context:,} tokens"),
        ("facts from", facts.source),
        *(("note", note) for note in facts.notes),
    ]
    size = max(len(name) for name, _ in said)
    for name, value in said:
        print(f"{name:<{size}}  {value}")
    print(f"\nSmallest worker, one request of {min(_SEQUENCE_TOKENS, facts.max_context):,} tokens:")
    print_rows([("GPU", "GPUs", "layout"), *_smallest(facts, GPUS.values())], left={0, 2})


def _dtypes(quantisation: object, moe: bool) -> list[str]:
    parts = ["linear", *(["experts"] if moe else []), "other"]
    return [f"{part} {getattr(quantisation, part)}" for part in parts]


def _smallest(facts: ModelFacts, gpus: Iterable[Gpu]) -> Iterable[tuple[str, str, str]]:
    from armature.model.memory import default_kv_dtype, smallest_parallelism

    tokens = min(_SEQUENCE_TOKENS, facts.max_context)
    for gpu in gpus:
        smallest = smallest_parallelism(
            facts,
            vram_bytes=gpu.vram_bytes,
            sequence_tokens=tokens,
            prefill_tokens=tokens,
            kv_dtype=default_kv_dtype(facts, "fp8" in gpu.flops),
        )
        yield (gpu.sku, str(smallest.gpus), smallest.label) if smallest else (gpu.sku, "-", "does not fit")


def support(
    model: Annotated[str, _MODEL],
    gpu: Annotated[list[str] | None, typer.Option(metavar="SKU", help="Only this GPU; repeatable.")] = None,
    offline: Annotated[bool, _OFFLINE] = False,
) -> None:
    """Show how well a model is known, per GPU and backend.

    silicon: from measured tables. estimated: from tables extended to that GPU. roofline: from the GPU's figures,
    with a wider band. Rows come as they are found out: a GPU's tables take a second or more to load, and are not
    loaded again for a model that was asked before.
    """
    from armature.hardware import catalog
    from armature.model.resolve import resolve_model
    from armature.perf.silicon import SiliconEstimator, user_cache

    facts = resolve_model(model, offline=offline)
    gpus = [catalog.gpu(sku, path="--gpu") for sku in gpu] if gpu else list(catalog.GPUS.values())
    estimator = SiliconEstimator(user_cache(os.environ))
    backends: tuple[Backend, ...] = ("vllm", "sglang", "trtllm")
    size = max(len(each.sku) for each in gpus)
    print(f"{'GPU':<{size}}  GPUs needed  " + "  ".join(f"{backend:<12}" for backend in backends).rstrip())
    for each, (sku, needed, _) in zip(gpus, _smallest(facts, gpus), strict=True):
        cells = [
            "does not fit" if needed == "-" else _known(facts, each, backend, estimator)
            for backend in backends
        ]
        row = f"{sku:<{size}}  {needed:>11}  " + "  ".join(f"{cell:<12}" for cell in cells)
        print(row.rstrip(), flush=True)


def _known(facts: ModelFacts, gpu: Gpu, backend: Backend, estimator: SiliconEstimator) -> str:
    from armature.perf.silicon import supported

    covered, how = supported(facts, gpu, backend, estimator)
    if not covered:
        return "roofline"
    return "estimated" if "estimated" in how else "silicon"
