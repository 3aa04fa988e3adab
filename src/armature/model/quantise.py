"""In which format each weight of a checkpoint is stored, and what it costs per parameter with its scales.

Read from `quantization_config` (config.json), `hf_quant_config.json` (ModelOpt) and the checkpoint's dtype.
Bytes per parameter, with the scales each format stores beside the weights:

    bf16, fp16     2
    fp8            1 (one scale per matrix), 1 + 4/128² (block of 128 x 128, fp32 scale), mxfp8 1 + 1/32
    nvfp4          1/2 + 1/16 (an fp8 scale per 16)           mxfp4  1/2 + 1/32 (an e8m0 scale per 32)
    int4, group g  1/2 + 2/g (fp16 scale) + 1/(2g) (4-bit zero point, when there is one)
    int8           1 (+ 2/g where it is grouped)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from armature.model.keys import ConfigKeys
from armature.model.names import NameList, layer_and_name
from armature.model.tensors import Tensor

__all__ = ["BF16", "Dtype", "Format", "Scheme", "scheme_of"]

Dtype = Literal["bf16", "fp8", "fp4", "int8", "int4"]


class Format(msgspec.Struct, frozen=True):
    """How a weight is stored."""

    dtype: Dtype
    bytes_per_param: float
    name: str


BF16 = Format("bf16", 2.0, "bf16")
_FP8 = Format("fp8", 1.0, "fp8")
_FP8_BLOCK = Format("fp8", 1.0 + 4 / 128**2, "fp8 block 128")
_MXFP8 = Format("fp8", 1.0 + 1 / 32, "mxfp8")
_NVFP4 = Format("fp4", 0.5 + 1 / 16, "nvfp4")
_MXFP4 = Format("fp4", 0.5 + 1 / 32, "mxfp4")
_INT8 = Format("int8", 1.0, "int8")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The formats of one checkpoint. method is for the user; kv is what the checkpoint asks for its KV cache."""

    method: str = ""
    linear: Format = BF16
    experts: Format = BF16
    excluded: NameList = field(default_factory=lambda: NameList(()))
    listed: Mapping[tuple[str, str], Format] = field(default_factory=dict)
    targets: tuple[tuple[NameList, Format], ...] = ()
    kv: Literal["bf16", "fp8"] = "bf16"
    notes: tuple[str, ...] = ()

    def format_of(self, tensor: Tensor) -> Format:
        """The format a weight is stored in."""
        if self.listed:
            found = self.listed.get((str(tensor.layer) if tensor.layer >= 0 else "", tensor.name))
            if found is not None:
                return found
        if tensor.part == "other":
            return BF16
        default = self.experts if tensor.part == "experts" else self.linear
        if default is BF16 and not self.targets:
            return BF16
        if self.excluded.match(tensor.layer, tensor.name):
            return BF16
        for names, target in self.targets:
            if names.match(tensor.layer, tensor.name):
                return target
        return default


def scheme_of(keys: ConfigKeys, quant_config: Mapping[str, object] | None) -> Scheme:
    """The scheme of a checkpoint from its config.json and, when there is one, its hf_quant_config.json."""
    stated = keys.mapping("quantization_config") or keys.mapping("compression_config")
    inner = (quant_config or {}).get("quantization") or quant_config
    q: dict[str, object] = {**(inner if isinstance(inner, Mapping) else {}), **stated}
    if not q:
        return Scheme(notes=_dtype_notes(keys))
    method = str(q.get("quant_method") or "").lower()
    algo = str(q.get("quant_algo") or "").upper()
    excluded = NameList(_excluded_names(q))
    kv = _kv_dtype(q, inner if isinstance(inner, Mapping) else {})
    label = method or "modelopt"
    if algo == "MIXED_PRECISION":
        return _mixed(q, label, kv)
    if method == "mxfp4":
        return Scheme("mxfp4 experts", experts=_MXFP4, excluded=excluded, kv=kv)
    base = _by_algo(algo, q) or _by_method(method, q)
    targets: tuple[tuple[NameList, Format], ...] = ()
    if base is None:
        groups = _groups(q)
        targets = tuple((names, form) for names, form in groups if names is not None)
        base = next((form for names, form in groups if names is None), BF16 if groups else None)
    if base is None:
        note = f"quantisation {method or algo or 'method'!r} is not known: weights are counted as bf16"
        return Scheme(label, kv=kv, notes=(note,))
    experts = _MXFP4 if keys.get("expert_dtype") == "fp4" else base
    shown = base if base is not BF16 or not targets else targets[0][1]
    name = shown.name if experts is base else f"{shown.name}, experts {experts.name}"
    return Scheme(f"{label}: {name}", base, experts, excluded, targets=targets, kv=kv)


def _mixed(q: Mapping[str, object], label: str, kv: Literal["bf16", "fp8"]) -> Scheme:
    """ModelOpt's MIXED_PRECISION: a format per listed layer; what is not listed keeps the base format."""
    base = _by_method(str(q.get("quant_method") or ""), q) or BF16
    layers = q.get("quantized_layers")
    listed: dict[tuple[str, str], Format] = {}
    for name, entry in layers.items() if isinstance(layers, Mapping) else ():
        if isinstance(entry, Mapping):
            form = _by_algo(str(entry.get("quant_algo") or "").upper(), entry)
            if form is not None:
                listed[layer_and_name(name)] = form
    names = sorted({form.name for form in listed.values()} | ({base.name} if base is not BF16 else set()))
    return Scheme(f"{label}: mixed {', '.join(names)}", base, base, listed=listed, kv=kv)


def _by_algo(algo: str, q: Mapping[str, object]) -> Format | None:
    """ModelOpt's `quant_algo`."""
    known = {
        "FP8": _FP8, "FP8_PER_CHANNEL_PER_TOKEN": _FP8, "FP8_PB_WO": _FP8_BLOCK, "FP8_BLOCK_SCALES": _FP8_BLOCK,
        "NVFP4": _NVFP4, "W4A16_NVFP4": _NVFP4, "NVFP4_AWQ": _NVFP4, "W4A8_NVFP4_FP8": _NVFP4, "MXFP8": _MXFP8,
        "MXFP4": _MXFP4, "W4A8_MXFP4_FP8": _MXFP4, "W4A16_MXFP4": _MXFP4,
        "W8A16": _INT8, "W8A8_SQ_PER_CHANNEL": _INT8, "INT8_SQ": _INT8, "INT8": _INT8,
    }  # fmt: skip
    if algo in known:
        return known[algo]
    if algo in ("INT4_AWQ", "W4A16", "W4A16_AWQ", "W4A8_AWQ"):
        return _integer(4, _integer_of(q, "group_size", 128), zero_point=False)
    return None


def _by_method(method: str, q: Mapping[str, object]) -> Format | None:
    """Hugging Face's `quant_method`, for methods with one format for every linear layer."""
    bits, group = _integer_of(q, "bits", 4), _integer_of(q, "group_size", 128)
    if method in ("fp8", "fbgemm_fp8"):
        return _FP8_BLOCK if q.get("weight_block_size") else _FP8
    if method in ("awq", "gptq", "autoawq", "auto-round", "awq_marlin", "gptq_marlin"):
        symmetric = bool(q.get("sym", False)) and method != "gptq"  # GPTQ files store zero points in any case
        return _integer(bits, group, zero_point=not symmetric)
    if method == "bitsandbytes":
        return _INT8 if q.get("load_in_8bit") else Format("int4", 0.5 + 4 / 64, "int4 group 64")
    if method == "quark":
        weight = q.get("global_quant_config")
        weight = weight.get("weight") if isinstance(weight, Mapping) else None
        dtype = str(weight.get("dtype")) if isinstance(weight, Mapping) else ""
        known = {"fp8_e4m3": _FP8, "fp4": _MXFP4, "int8": _INT8, "mxfp4": _MXFP4}
        return known.get(dtype) or (
            _integer(4, group, zero_point=False) if dtype in ("int4", "uint4") else None
        )
    return None


def _groups(q: Mapping[str, object]) -> list[tuple[NameList | None, Format]]:
    """compressed-tensors `config_groups`: (targets, format); targets None means every linear layer."""
    groups = q.get("config_groups")
    found: list[tuple[NameList | None, Format]] = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            continue
        targets = group.get("targets") or ["Linear"]
        every = not isinstance(targets, list) or "Linear" in targets
        scheme = str(group.get("format") or q.get("format") or "")
        found.append((None if every else NameList(targets), _group_format(weights, scheme)))
    return found


def _group_format(weights: Mapping[str, object], scheme: str) -> Format:
    bits = _integer_of(weights, "num_bits", 8)
    group = _integer_of(weights, "group_size", 0)
    if weights.get("type") == "float":
        if bits == 4:
            return _MXFP4 if "mxfp4" in scheme or group == 32 else _NVFP4
        return _FP8_BLOCK if weights.get("strategy") == "block" else _MXFP8 if group == 32 else _FP8
    return _integer(bits, group, zero_point=not weights.get("symmetric", True))


def _integer(bits: int, group: int, *, zero_point: bool) -> Format:
    """An integer format of `bits`, a scale (fp16) and perhaps a zero point (of `bits`) per `group` weights."""
    bits = min(max(bits, 2), 8)
    overhead = (2 + (bits / 8 if zero_point else 0)) / group if group > 0 else 0.0
    dtype: Dtype = "int8" if bits > 4 else "int4"
    return Format(dtype, bits / 8 + overhead, f"int{bits}" + (f" group {group}" if group > 0 else ""))


def _excluded_names(q: Mapping[str, object]) -> list[object]:
    names: list[object] = []
    for key in ("exclude_modules", "ignore", "modules_to_not_convert", "ignored_layers", "exclude"):
        value = q.get(key)
        names.extend(value if isinstance(value, list) else ())
    return names


def _kv_dtype(*sources: Mapping[str, object]) -> Literal["bf16", "fp8"]:
    for q in sources:
        scheme = q.get("kv_cache_scheme") or q.get("kv_cache_quant_algo")
        if isinstance(scheme, str) and scheme.upper() == "FP8":
            return "fp8"
        if isinstance(scheme, Mapping) and scheme.get("num_bits") == 8 and scheme.get("type") == "float":
            return "fp8"
    return "bf16"


def _dtype_notes(keys: ConfigKeys) -> tuple[str, ...]:
    dtype = str(keys.get("torch_dtype", "dtype") or "bfloat16").removeprefix("torch.")
    if dtype in ("bfloat16", "float16", "auto"):
        return ()
    return (f"the checkpoint's dtype is {dtype}; engines load it as 16 bit, and so it is counted",)


def _integer_of(source: Mapping[str, object], name: str, default: int) -> int:
    value = source.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
