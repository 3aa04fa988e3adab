"""A request from options: alone, or over a file's own fields. Pure but for reading that file.

Options become fields of the document a user would have written, and the API's own reader judges it: so there is one
set of rules and messages, in which only the names are the user's (`--ttft` where a file has `spec.sla.ttft`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from armature.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from armature.api.v1beta1 import DynamoGraphDeploymentRequest

    Read = Callable[[str], tuple[DynamoGraphDeploymentRequest, tuple[str, ...]]]

__all__ = ["Asked", "asked_request", "in_option_names", "request_yaml"]

_FIELDS = {
    "model": ("--model", "spec.model"),
    "backend": ("--backend", "spec.backend"),
    "system": ("--system", "spec.hardware.gpuSku"),
    "total_gpus": ("--total-gpus", "spec.hardware.totalGpus"),
    "isl": ("--isl", "spec.workload.isl"),
    "osl": ("--osl", "spec.workload.osl"),
    "request_rate": ("--request-rate", "spec.workload.requestRate"),
    "concurrency": ("--concurrency", "spec.workload.concurrency"),
    "trace": ("--trace", "spec.workload.traceRef.path"),
    "nextn": ("--nextn", "spec.features.speculation.nextn"),
    "acceptance": ("--acceptance", "spec.features.speculation.acceptanceRate"),
    "ttft": ("--ttft", "spec.sla.ttft"),
    "itl": ("--itl", "spec.sla.itl"),
    "e2e": ("--e2e", "spec.sla.e2eLatency"),
    "optimize": ("--optimize", "spec.sla.optimizationType"),
}
"""Option and field by name of `Asked`."""

_REPLACES = {
    "isl": ("spec.workload.traceRef",),
    "osl": ("spec.workload.traceRef",),
    "trace": (
        "spec.workload.isl",
        "spec.workload.osl",
        "spec.workload.traceRef.configMap",
        "spec.workload.traceRef.pvc",
    ),
    "request_rate": ("spec.workload.concurrency",),
    "concurrency": ("spec.workload.requestRate",),
    "ttft": ("spec.sla.e2eLatency",),
    "itl": ("spec.sla.e2eLatency",),
    "e2e": ("spec.sla.ttft", "spec.sla.itl"),
    "system": ("spec.hardware.vramMb", "spec.hardware.numGpusPerNode"),
}
"""Fields of the file that cannot stand beside an option, and go with it (VAL-02)."""

_TOGETHER = {"nextn": "acceptance", "acceptance": "nextn"}
"""Options that need each other: where one is given, the other is spoken of by its name too."""

_STATED_HARDWARE = ("gpuSku", "vramMb", "totalGpus", "numGpusPerNode")
_NAME_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say of a request; None where they say nothing. `hardware` is as `--hardware` takes it."""

    model: str | None = None
    hardware: str | None = None
    system: str | None = None
    total_gpus: int | None = None
    backend: str | None = None
    isl: int | None = None
    osl: int | None = None
    request_rate: float | None = None
    concurrency: float | None = None
    trace: str | None = None
    nextn: int | None = None
    acceptance: float | None = None
    ttft: float | None = None
    itl: float | None = None
    e2e: float | None = None
    optimize: str | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Asked:
        """From a command's parameters by name; those of other names are not ours."""
        return cls(**{f.name: params[f.name] for f in fields(cls) if f.name in params})

    @property
    def given(self) -> dict[str, Any]:
        """The fields of the request that options set, by name of `Asked`."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in values.items() if value is not None}


def asked_request(
    file: str | None, asked: Asked, command: str = "plan", *, read: Read | None = None
) -> tuple[DynamoGraphDeploymentRequest, tuple[str, ...]]:
    """The request of the file with the options over it, or of the options alone; and notes for the user.

    read: what reads the file, when it is not to be read anew.
    Raises InvalidInput when there is neither a file nor a model, or when anything is wrong with either.
    """
    from armature.api import check, to_dict, v1beta1, warnings_of
    from armature.cli.files import read_request

    if asked.hardware is not None and (asked.system is not None or asked.total_gpus is not None):
        other = "--system" if asked.system is not None else "--total-gpus"
        mend = f"keep one: --hardware 8xh200_sxm says what --system and --total-gpus say, not {other} too"
        raise InvalidInput(
            f"armature {command}", [Problem(other, "cannot be combined with --hardware", mend)]
        )
    if file is None and asked.model is None:
        mend = "name a request file, or say it in options: --model Qwen/Qwen3-32B --hardware 8xh200_sxm"
        raise InvalidInput(f"armature {command}", [Problem("FILE", f"there is nothing to {command}", mend)])
    notes: list[str] = []
    document: dict[str, Any] = {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": _name_of(asked.model or "")},
        "spec": {},
    }
    if file is not None:
        request, said = (read or read_request)(file)
        document = to_dict(request)
        if (note := _replaced(document, asked)) is not None:
            notes.append(note)
        if not asked.given:
            return request, (*notes, *said)
        judged_anew = warnings_of(request)
        notes += [text for text in said if text not in judged_anew]
    resource, problems = check(_with_options(document, asked))
    if problems or not isinstance(resource, v1beta1.DynamoGraphDeploymentRequest):
        raise in_option_names(InvalidInput(f"armature {command}", problems), asked)
    notes += [_reworded(warning, asked) for warning in warnings_of(resource)]
    return resource, tuple(dict.fromkeys(notes))


def in_option_names(error: InvalidInput, asked: Asked) -> InvalidInput:
    """The error with the names of options where options set the fields it speaks of."""
    problems = [
        Problem(_option_path(p, asked), _reworded(p.rule, asked), _reworded(p.mend, asked), p.value)
        for p in error.problems
    ]
    return InvalidInput(error.subject, problems)


def request_yaml(request: DynamoGraphDeploymentRequest, hardware: str | None) -> str:
    """The request as a file; `hardware`, as `--hardware` takes it, becomes its `spec.hardware`.

    Raises InvalidInput for GPUs that a request has no words for: several pools, or none of the API's SKUs.
    """
    from armature.api import check, to_dict, to_yaml, v1beta1
    from armature.cli.files import with_absolute_paths
    from armature.hardware.inventory import inventory_for_request, parse_hardware

    request = with_absolute_paths(request)
    if hardware is None:
        return to_yaml(request)
    pools = parse_hardware(hardware).pools
    document = to_dict(request)
    stated = document["spec"].setdefault("hardware", {})
    for key in _STATED_HARDWARE:
        stated.pop(key, None)
    pool = pools[0]
    stated |= {"gpuSku": pool.gpu.sku, "totalGpus": pool.gpus, "numGpusPerNode": pool.gpus_per_node}
    resource, problems = check(document)
    if isinstance(resource, v1beta1.DynamoGraphDeploymentRequest) and not problems:
        unlinked = resource.spec.hardware.model_copy(update={"rdma": None, "interconnect": None})
        if inventory_for_request(unlinked, None).pools == pools:
            return to_yaml(resource)
    mend = "a request names one SKU of the API: give --hardware to the command that reads the request"
    raise InvalidInput(
        "--write-request", [Problem("--hardware", "does not fit in a request", mend, hardware)]
    )


def _with_options(document: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    changed = copy.deepcopy(dict(document))
    for name in asked.given:
        for path in _REPLACES.get(name, ()):
            _drop(changed, path)
    for name, value in asked.given.items():
        *way, last = _FIELDS[name][1].split(".")
        at = changed
        for key in way:
            at = at.setdefault(key, {})
        at[last] = value
    return changed


def _replaced(document: Mapping[str, Any], asked: Asked) -> str | None:
    """What options change of a file, in one sentence."""
    said = []
    for name, value in asked.given.items():
        option, path = _FIELDS[name]
        before = _at(document, path)
        if before != value:
            said.append(
                f"{option} {_text(value)} ({'not in it' if before is None else 'it says ' + _text(before)})"
            )
    stated = _at(document, "spec.hardware") or {}
    if asked.hardware is not None and (counted := [k for k in _STATED_HARDWARE if k in stated]):
        before = ", ".join(f"{key} {_text(stated[key])}" for key in counted)
        said.append(f"--hardware {asked.hardware} (it says {before})")
    gone = {
        path for name in asked.given for path in _REPLACES.get(name, ()) if _at(document, path) is not None
    }
    gone -= {_FIELDS[name][1] for name in asked.given}
    said += [f"its {path} does not apply" for path in sorted(gone)]
    return f"Options over the file's fields: {', '.join(said)}." if said else None


def _option_path(problem: Problem, asked: Asked) -> str:
    """The options that set the field; of a mapping, those that set its fields and that the rule speaks of."""
    below = [_FIELDS[name] for name in asked.given if _FIELDS[name][1].startswith(f"{problem.path}.")]
    spoken = [option for option, path in below if path.rpartition(".")[2] in problem.rule.split()]
    return ", ".join(spoken) or _reworded(problem.path, asked)


def _reworded(text: str, asked: Asked) -> str:
    """Paths, and the bare names of fields, as the options that set them."""
    for name in [*asked.given, *(_TOGETHER[name] for name in asked.given if name in _TOGETHER)]:
        option, path = _FIELDS[name]
        text = text.replace(path, option)
        if "." in path.removeprefix("spec."):
            leaf = path.rpartition(".")[2]
            text = re.sub(rf"(?<![\w.-]){leaf}(?![\w-])", option, text)
    return text


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _drop(document: dict[str, Any], path: str) -> None:
    way, _, last = path.rpartition(".")
    parent = _at(document, way)
    if isinstance(parent, dict):
        parent.pop(last, None)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name_of(model: str) -> str:
    """A DNS-1123 name for the request of a model: its last part, in small letters."""
    last = model.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:_NAME_LIMIT].strip("-") or "request"
