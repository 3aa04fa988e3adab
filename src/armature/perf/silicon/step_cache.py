"""Step times of measured engines kept between runs, so that only the first search of a model loads the tables.

An entry is one engine's answer: its lattice, or why there is none. Its name is the digest of all that the answer
follows from: the estimator library's version and settings, our own code (the sources of `perf` and `model`), the
model's config and what we read from it, GPU, backend, parallelism and KV dtype. So nothing is ever invalidated:
what another version wrote is not found, and falls to eviction. An entry that is damaged counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from importlib import resources
from typing import Literal

import msgspec
import numpy as np

import armature
from armature.model.bundle import bundled_config
from armature.model.facts import ModelFacts
from armature.perf.estimate import Band, EngineSpec, Floats
from armature.perf.lattice import CHUNKS, CONTEXTS, PRIORS, LatticeTimes
from armature.perf.silicon import library
from armature.perf.silicon.disk import Disk, Store, default_folder
from armature.perf.silicon.model_files import NoSiliconData

__all__ = ["StepCache", "user_cache"]

_MAGIC = b"armature-steps-2\n"
_DIGEST = 16


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """An answer on disk; the lattice's values are little-endian doubles. Its nodes are those of `lattice`, but for the
    ones that an engine has of its own."""

    name: str
    refusal: tuple[str, str] | None
    source: Literal["silicon", "estimated"] = "silicon"
    prefill_band: tuple[float, float] = (1.0, 1.0)
    decode_band: tuple[float, float] = (1.0, 1.0)
    notes: tuple[str, ...] = ()
    moe_a2a: str = ""
    tokens: bytes = b""
    prefill: bytes = b""
    prior_extra: bytes = b""
    batch: bytes = b""
    decode: bytes = b""


class StepCache:
    """Answers by engine. env: the environment the library will read its settings from."""

    def __init__(self, store: Store, env: Mapping[str, str]) -> None:
        settings = {name: value for name, value in env.items() if name.startswith("AIC")}
        self._store = store
        self._origin = repr((library.version(), sorted(settings.items()), _code()))
        self._models: dict[ModelFacts, str] = {}

    def get(self, spec: EngineSpec) -> LatticeTimes | NoSiliconData | None:
        """The answer of another run; None where there is none that can be read."""
        name = self._name(spec)
        data = self._store.read(name)
        return None if data is None else _decoded(name, data)

    def put(self, spec: EngineSpec, answer: LatticeTimes | NoSiliconData) -> None:
        """Keep an answer. A refusal that need not last (a full disk, no memory) is not kept."""
        if isinstance(answer, NoSiliconData) and not answer.lasting:
            return
        name = self._name(spec)
        self._store.write(name, _encoded(name, answer))

    def _name(self, spec: EngineSpec) -> str:
        model = self._models.get(spec.facts)
        if model is None:
            model = self._models[spec.facts] = _model_text(spec.facts)
        text = repr((self._origin, model, spec.gpu, spec.backend, spec.parallelism, spec.kv_dtype))
        return blake2b(text.encode(), digest_size=_DIGEST).hexdigest()


def user_cache(env: Mapping[str, str]) -> StepCache | None:
    """The cache of this user: in `$ARMATURE_CACHE`, else `$XDG_CACHE_HOME/armature`, else `~/.cache/armature`; None
    when `$ARMATURE_CACHE` is `off`."""
    if env.get("ARMATURE_CACHE") == "off":
        return None
    return StepCache(Disk(default_folder(env) / "steps"), env)


def _encoded(name: str, answer: LatticeTimes | NoSiliconData) -> bytes:
    if isinstance(answer, NoSiliconData):
        entry = _Entry(name, (answer.message, answer.mend))
    else:
        entry = _Entry(
            name,
            None,
            "estimated" if answer.source == "estimated" else "silicon",
            (answer.prefill_band.low, answer.prefill_band.high),
            (answer.decode_band.low, answer.decode_band.high),
            answer.notes,
            answer.moe_a2a,
            *(
                values.astype("<f8").tobytes()
                for values in (answer.tokens, answer.prefill, answer.prior_extra, answer.batch, answer.decode)
            ),
        )
    body = msgspec.msgpack.encode(entry)
    return _MAGIC + blake2b(body, digest_size=_DIGEST).digest() + body


def _decoded(name: str, data: bytes) -> LatticeTimes | NoSiliconData | None:
    head = len(_MAGIC) + _DIGEST
    digest, body = data[len(_MAGIC) : head], data[head:]
    if not data.startswith(_MAGIC) or blake2b(body, digest_size=_DIGEST).digest() != digest:
        return None
    try:
        entry = msgspec.msgpack.decode(body, type=_Entry)
        if entry.name != name:
            return None
        if entry.refusal is not None:
            return NoSiliconData(*entry.refusal)
        return LatticeTimes(
            source=entry.source,
            prefill_band=Band(*entry.prefill_band),
            decode_band=Band(*entry.decode_band),
            notes=entry.notes,
            tokens=_values(entry.tokens, -1),
            prefill=_values(entry.prefill, len(entry.tokens) // 8),
            chunk=_nodes(CHUNKS),
            prior=_nodes(PRIORS),
            prior_extra=_values(entry.prior_extra, len(CHUNKS), len(PRIORS)),
            batch=_values(entry.batch, -1),
            context=_nodes(CONTEXTS),
            decode=_values(entry.decode, len(entry.batch) // 8, len(CONTEXTS)),
            moe_a2a=entry.moe_a2a,
        )
    except (msgspec.DecodeError, ValueError):
        return None


def _nodes(axis: tuple[int, ...]) -> Floats:
    return np.array(axis, dtype=np.float64)


def _values(data: bytes, *shape: int) -> Floats:
    return np.frombuffer(data, dtype="<f8").reshape(shape).astype(np.float64)


def _model_text(facts: ModelFacts) -> str:
    """All about the model that step times can follow from: what we read, and the files that the library reads."""
    plain = replace(facts, config_dir=None, tokenizer_dir=None, source="", notes=())
    found = bundled_config(facts.name) if facts.config_dir is None else None
    files: list[str] = []
    if found is not None:
        files = [json.dumps(part, sort_keys=True) for part in (found.config, found.quant_config)]
    elif facts.config_dir is not None:
        for name in ("config.json", "hf_quant_config.json"):
            try:
                files.append((facts.config_dir / name).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                files.append("")
    return blake2b(repr((plain, files)).encode(), digest_size=_DIGEST).hexdigest()


@cache
def _code() -> str:
    """Digest of the sources that an answer is computed by; the version alone where they cannot be read."""
    digest = blake2b(armature.__version__.encode(), digest_size=_DIGEST)
    try:
        for package in ("armature.perf", "armature.perf.silicon", "armature.model"):
            for source in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
                if source.name.endswith((".py", ".json")):
                    digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    except OSError:
        return armature.__version__
    return digest.hexdigest()
