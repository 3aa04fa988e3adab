"""The model as the estimator library takes it: a name of its own bundle, or a directory of ours, never the network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from functools import cache
from hashlib import sha256
from pathlib import Path

from armature.errors import ArmatureError, ModelUnknown
from armature.model.bundle import config_directory
from armature.model.facts import ModelFacts

__all__ = ["NoSiliconData", "model_path"]

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


class NoSiliconData(ArmatureError):
    """The library cannot answer for this engine; `choose` turns to the roofline and names this cause.

    lasting: whether it would say the same tomorrow: its tables do not hold the engine."""

    def __init__(self, message: str, mend: str = "", *, lasting: bool = True) -> None:
        super().__init__(message, mend)
        self.lasting = lasting


def model_path(facts: ModelFacts, known: Collection[str], bundle: Path) -> tuple[str, tuple[str, ...]]:
    """What to give the library, and notes on what was changed.

    known: names that the library resolves from its own files, which lie in `bundle`. Raises NoSiliconData.
    """
    if facts.name in known and (bundle / f"{facts.name.replace('/', '--')}_config.json").is_file():
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
