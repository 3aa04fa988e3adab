"""The estimator library, aiconfigurator-core, behind one narrow door: the only module that imports it.

It is imported on first use (0.1 s; neither numpy nor pandas come with it) and never reaches the network: it is
given either a name of its own bundle or a directory that holds `config.json`, never a name it would look up.

What the library's answers mean, read from its sources and held by tests:

- times are milliseconds of one whole forward pass, all `pp` stages in turn;
- batches are per attention-DP rank (the library multiplies by `attention_dp_size` itself);
- `prefill(n, prior)` is `n` new tokens after `prior` cached ones; `decode(b, c)` is one token for each of `b`
  requests with `c` tokens in the cache.

The library's own mixed step is not used: for MLA models it leaves out the decoding requests' caches.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from armature.errors import ArmatureError, ModelUnknown
from armature.model.bundle import config_directory
from armature.model.facts import ModelFacts
from armature.perf.estimate import EngineSpec

__all__ = ["ESTIMATED_SYSTEMS", "SYSTEMS", "Handle", "NoSiliconData", "compile_handle", "installed"]

# Our SKU -> the library's system, for GPUs with measured tables (its h100_pcie, a100_pcie, a30 and l4 have none).
SYSTEMS = {
    "a100_sxm": "a100_sxm",
    "b200_sxm": "b200_sxm",
    "b300_sxm": "b300_sxm",
    "gb200": "gb200",
    "gb200_sxm": "gb200",
    "gb300": "gb300",
    "gb300_sxm": "gb300",
    "h100_sxm": "h100_sxm",
    "h200_sxm": "h200_sxm",
    "l40s": "l40s",
    "rtx_pro_6000": "rtx_pro_6000_server",
    "rtx_pro_6000_server": "rtx_pro_6000_server",
}
# Measured on old engines (a100_sxm) or held back by PCIe tables (l40s), and no real deployment to check against.
ESTIMATED_SYSTEMS = frozenset({"a100_sxm", "l40s", "rtx_pro_6000_server"})

# Architectures the library does not know whose layers are those of Llama: same matrices, same attention.
LLAMA_SHAPED = frozenset(
    {
        "AquilaForCausalLM",
        "ArceeForCausalLM",
        "GraniteForCausalLM",
        "InternLM2ForCausalLM",
        "InternLM3ForCausalLM",
        "InternLMForCausalLM",
        "MistralForCausalLM",
        "Phi3ForCausalLM",
        "SeedOssForCausalLM",
        "SmolLM3ForCausalLM",
        "TeleChatForCausalLM",
        "YiForCausalLM",
    }
)

_PACKAGE = "aiconfigurator_core"


class NoSiliconData(ArmatureError):
    """The library cannot answer for this engine; `choose` turns to the roofline and names this cause."""


class Handle:
    """One engine compiled by the library. Raises NoSiliconData where its tables end."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def prefill_ms(self, tokens: float, prior: float = 0) -> float:
        try:
            return float(self._engine.predict_prefill_latency(1, int(tokens + prior), int(prior)))
        except Exception as error:  # a foreign library: whatever it raises means that it has no answer
            raise NoSiliconData(_cause(error)) from error

    def decode_ms(self, batch: float, context: float) -> float:
        try:
            return float(self._engine.decode_step_latency(int(batch), int(context), 2))
        except Exception as error:  # as above
            raise NoSiliconData(_cause(error)) from error


def installed() -> bool:
    return importlib.util.find_spec(_PACKAGE) is not None


def compile_handle(spec: EngineSpec, **modes: str) -> tuple[Handle, tuple[str, ...]]:
    """The library's engine for `spec` and notes on what was changed to get it.

    modes: the library's overrides (`kvcache_quant_mode`, `fmha_quant_mode`, `gemm_quant_mode`, `moe_quant_mode`).
    Raises NoSiliconData when the library is missing or refuses.
    """
    if not installed():
        raise NoSiliconData("aiconfigurator-core is not installed")
    system = SYSTEMS.get(spec.gpu.sku)
    if system is None:
        raise NoSiliconData(f"there are no measured tables for {spec.gpu.sku}")
    model, notes = _model_path(spec.facts)
    parallelism = spec.parallelism
    from aiconfigurator_core.sdk.engine import EngineHandle

    try:
        engine = EngineHandle.compile(
            model,
            system,
            spec.backend,
            tp_size=parallelism.tp,
            pp_size=parallelism.pp,
            attention_dp_size=parallelism.dp,
            moe_tp_size=parallelism.moe_tp,
            moe_ep_size=parallelism.moe_ep,
            **modes,
        )
    except Exception as error:  # a foreign library: whatever it raises means that it has no answer
        raise NoSiliconData(_cause(error)) from error
    return Handle(engine), notes


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's log lines (fallback rows and the like) out of the user's log while inside."""
    global _depth
    logger = logging.getLogger(_PACKAGE)
    with _lock:
        if _depth == 0:
            _saved.append(logger.propagate)
            logger.propagate = False
            logger.addHandler(_null)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                logger.propagate = _saved.pop()
                logger.removeHandler(_null)


_lock = threading.Lock()
_depth = 0
_saved: list[bool] = []
_null = logging.NullHandler()


@cache
def _bundle() -> tuple[frozenset[str], Path]:
    """Names that the library resolves from its own files, and where these lie."""
    from aiconfigurator_core.sdk.common import DefaultHFModels

    package = importlib.util.find_spec(_PACKAGE)
    assert package is not None
    assert package.origin is not None
    return frozenset(DefaultHFModels), Path(package.origin).parent / "model_configs"


def _model_path(facts: ModelFacts) -> tuple[str, tuple[str, ...]]:
    """What the library may be given without looking the model up on the network."""
    names, folder = _bundle()
    stem = facts.name.replace("/", "--")
    if facts.name in names and (folder / f"{stem}_config.json").is_file():
        return facts.name, ()
    try:
        directory = config_directory(facts, Path(_workspace().name) / "bundle")
    except ModelUnknown:
        raise NoSiliconData(f"there is no config.json of {facts.name} at hand") from None
    return _materialised(directory / "config.json", directory / "hf_quant_config.json")


def _materialised(config: Path, quantisation: Path) -> tuple[str, tuple[str, ...]]:
    """A directory of our own with the two files, named by their content: the library caches by path for good."""
    notes: tuple[str, ...] = ()
    try:
        text = config.read_text(encoding="utf-8")
        extra = quantisation.read_text(encoding="utf-8") if quantisation.is_file() else ""
        raw = json.loads(text)
        architecture = raw["architectures"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise NoSiliconData("its config.json cannot be read or names no architecture") from None
    if architecture in LLAMA_SHAPED:
        text = json.dumps({**raw, "architectures": ["LlamaForCausalLM"]})
        notes = (f"{architecture} is priced as a Llama of its size: same layers, same attention",)
    folder = Path(_workspace().name) / sha256((text + extra).encode()).hexdigest()[:16]
    if not folder.is_dir():
        folder.mkdir(parents=True)
        if extra:
            (folder / "hf_quant_config.json").write_text(extra, encoding="utf-8")
        (folder / "config.json").write_text(text, encoding="utf-8")
    return str(folder), notes


@cache
def _workspace() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="armature-models-")


def _cause(error: Exception) -> str:
    """The library's reason in one short line, without paths of this machine."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"the library does not know {text}"
    text = text.split(" at /")[0].removeprefix("perf database error: ")
    return text if len(text) <= 160 else f"{text[:157]}..."
