"""config.json to `ModelFacts`: one pass over the layers, everything counted, every missing key named."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from armature.errors import InvalidInput, Problem
from armature.model.cache import attention_of
from armature.model.context import max_context_of
from armature.model.facts import ModelFacts, Moe, Quantisation, WeightBytes
from armature.model.keys import ConfigKeys
from armature.model.layers import Layer, plan_layers
from armature.model.quantise import Dtype, Format, scheme_of
from armature.model.tensors import Tensor, Widths, tensors_of, vision_params, widths_of

__all__ = ["facts_from_directory", "read_facts", "read_json"]

_INDEX = "model.safetensors.index.json"


def read_facts(
    name: str,
    config: Mapping[str, object],
    quant_config: Mapping[str, object] | None,
    *,
    source: str,
    config_dir: Path | None = None,
    tokenizer_dir: Path | None = None,
) -> ModelFacts:
    """See `armature.model.facts.facts_from_config`, whose work this is."""
    keys = ConfigKeys(config)
    subject = f"config.json of {name}"
    if keys.flag("is_encoder_decoder") and not keys.nested:
        mend = "give a decoder-only language model"
        rule = "encoder-decoder models are not supported"
        raise InvalidInput(subject, [Problem("is_encoder_decoder", rule, mend, True)])
    widths = widths_of(keys)
    layers = plan_layers(keys)
    keys.refuse(subject)
    tensors = list(tensors_of(keys, widths, layers))
    attention = attention_of(keys, widths, layers)
    limit, notes = max_context_of(keys)
    keys.refuse(subject)
    vision = vision_params(keys)
    if vision:
        tensors.append(Tensor(-1, "vision", vision, "other", 0, "whole"))
        notes += (f"a vision tower of about {vision / 1e9:.2f} billion parameters is counted as bf16",)
    scheme = scheme_of(keys, quant_config)
    stored = [(tensor, scheme.format_of(tensor)) for tensor in tensors]
    params = {
        part: sum(t.params for t in tensors if t.part == part) for part in ("linear", "experts", "other")
    }
    parts = _bytes_by_part(stored)
    facts = ModelFacts(
        name=name,
        architecture=keys.architecture or "unknown",
        layers=len(layers),
        hidden=widths.hidden,
        vocab=widths.vocab,
        intermediate=_intermediate(widths, layers),
        attention=attention,
        quantisation=Quantisation(
            linear=_main_dtype(stored, "linear"),
            experts=_main_dtype(stored, "experts"),
            other=_main_dtype(stored, "other"),
            method=scheme.method,
            kv=scheme.kv,
        ),
        linear_params=params["linear"],
        expert_params=params["experts"],
        other_params=params["other"],
        active_params=sum(t.active for t in tensors),
        weight_bytes=parts.total,
        max_context=limit,
        source=source,
        moe=_moe(widths, layers),
        config_dir=config_dir,
        tokenizer_dir=tokenizer_dir,
        notes=(*notes, *scheme.notes),
        parts=parts,
        mtp_layers=_mtp_layers(keys),
    )
    return _with_index(facts, config_dir, keys)


def facts_from_directory(name: str, directory: Path, *, source: str) -> ModelFacts:
    """The facts of the model whose config.json lies in `directory`."""
    config = read_json(directory / "config.json")
    quant = directory / "hf_quant_config.json"
    return read_facts(
        name,
        config,
        read_json(quant) if quant.is_file() else None,
        source=source,
        config_dir=directory,
        tokenizer_dir=directory if (directory / "tokenizer.json").is_file() else None,
    )


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file; InvalidInput when it cannot be read or is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(str(path), [Problem(path.name, f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:
        raise InvalidInput(str(path), [Problem(path.name, f"is not JSON: {error}")]) from error
    if not isinstance(value, dict):
        raise InvalidInput(
            str(path), [Problem(path.name, f"must be a JSON object, not {type(value).__name__}")]
        )
    return value


def _mtp_layers(keys: ConfigKeys) -> int:
    """Multi-token-prediction layers of the checkpoint. Qwen3-Next has one (its model card) that its config omits."""
    stated = keys.number("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
    return stated or (1 if keys.model_type == "qwen3_next" else 0)


def _intermediate(widths: Widths, layers: Sequence[Layer]) -> int:
    """Width of the dense MLP (the widest, where layers differ), or of an expert where there is no dense MLP."""
    dense = [layer.intermediate or widths.intermediate for layer in layers if "dense" in layer.ffn]
    return max(dense, default=0) or widths.expert_intermediate or widths.intermediate


def _moe(widths: Widths, layers: Sequence[Layer]) -> Moe | None:
    count = sum("moe" in layer.ffn for layer in layers)
    if not count:
        return None
    return Moe(
        widths.experts,
        widths.experts_per_token,
        widths.expert_intermediate,
        widths.shared_intermediate,
        count,
    )


def _main_dtype(stored: Iterable[tuple[Tensor, Format]], part: str) -> Dtype:
    sizes: Counter[Dtype] = Counter()
    for tensor, form in stored:
        if tensor.part == part:
            sizes[form.dtype] += tensor.params
    return sizes.most_common(1)[0][0] if sizes else "bf16"


def _bytes_by_part(stored: Sequence[tuple[Tensor, Format]]) -> WeightBytes:
    def total(chosen: Iterable[tuple[Tensor, Format]]) -> int:
        return math.ceil(sum(tensor.params * form.bytes_per_param for tensor, form in chosen))

    def where(part: str, per_rank: str = "") -> list[tuple[Tensor, Format]]:
        return [p for p in stored if p[0].part == part and per_rank in ("", p[0].per_rank)]

    return WeightBytes(
        linear=total(where("linear")),
        experts=total(where("experts")),
        other=total(where("other")),
        linear_whole=total(where("linear", "whole")),
        linear_kv=total(where("linear", "kv")),
        embedding=total(p for p in stored if p[0].name.startswith("embed_tokens")),
        head=total(p for p in stored if p[0].name == "lm_head"),
        other_whole=total(where("other", "whole")),
    )


def _with_index(facts: ModelFacts, directory: Path | None, keys: ConfigKeys) -> ModelFacts:
    """Takes the checkpoint's own size where a safetensors index states it and it agrees with the count.

    Indexes include multi-token-prediction layers, which serving leaves out, so a larger index is believed only as
    far as 3 % (or where the model has no such layers); a smaller one as far as half.
    """
    path = directory / _INDEX if directory else None
    if path is None or not path.is_file() or facts.parts is None:
        return facts
    metadata = read_json(path).get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    if isinstance(total, bool) or not isinstance(total, int) or total <= 0:
        return facts
    ratio = total / facts.weight_bytes
    if not 0.5 <= ratio <= (1.03 if facts.mtp_layers else 2.2):
        counted = f"the config counts {facts.weight_bytes / 1e9:.1f} GB; the count is used"
        note = f"{_INDEX} states {total / 1e9:.1f} GB, {counted}"
        return replace(facts, notes=(*facts.notes, note))
    scaled = WeightBytes(
        *(math.ceil(getattr(facts.parts, name) * ratio) for name in WeightBytes.__dataclass_fields__)
    )
    note = f"weights of {total / 1e9:.1f} GB as {_INDEX} states"
    return replace(facts, weight_bytes=total, parts=scaled, notes=(*facts.notes, note))
