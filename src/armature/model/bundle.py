"""Model configs that need no network: ours, and those the estimator library brings.

Ours (`bundle/models.json`) holds common models the library misses, each in config.json form with its source. The
library's directory is found without importing it, which would load its native code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import msgspec

from armature.errors import ModelUnknown, OutputFailed
from armature.model.facts import ModelFacts
from armature.model.read import read_json

__all__ = ["BundledConfig", "bundled_config", "bundled_names", "config_directory"]

_LIBRARY = "aiconfigurator_core"
_CONFIG, _QUANT = "_config.json", "_hf_quant_config.json"


class BundledConfig(msgspec.Struct, frozen=True):
    """A config found in a bundle. name is spelled as the bundle spells it; source is fit to print."""

    name: str
    config: Mapping[str, object]
    quant_config: Mapping[str, object] | None
    source: str


def bundled_names() -> tuple[str, ...]:
    """The names of all bundled models, sorted."""
    models, aliases, _ = _ours()
    return tuple(sorted({*models, *aliases, *_library()}, key=str.lower))


def bundled_config(name: str) -> BundledConfig | None:
    """The bundled config of a model; the exact name first, then without regard to case. None when unknown."""
    found = _exact(name)
    if found is not None:
        return found
    wanted = name.lower()
    close = next((known for known in bundled_names() if known.lower() == wanted), None)
    return _exact(close) if close is not None else None


def config_directory(facts: ModelFacts, into: Path) -> Path:
    """A directory with the model's config.json (and hf_quant_config.json, when it has one).

    The model's own directory where there is one; else the bundled config is written to `into/<org>--<name>/`.
    Raises ModelUnknown for a model without either, OutputFailed when it cannot be written.
    """
    if facts.config_dir is not None:
        return facts.config_dir
    found = bundled_config(facts.name)
    if found is None:
        raise ModelUnknown(f"there is no config.json of {facts.name} to write", "resolve the model first")
    directory = into / facts.name.replace("/", "--")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "config.json", found.config)
        if found.quant_config is not None:
            _write(directory / "hf_quant_config.json", found.quant_config)
    except OSError as error:
        raise OutputFailed(f"{directory}: cannot be written: {error.strerror}") from error
    return directory


def _write(path: Path, content: Mapping[str, object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)


def _exact(name: str) -> BundledConfig | None:
    models, aliases, as_of = _ours()
    config = models.get(aliases.get(name, name))
    if config is not None:
        plain = {key: value for key, value in config.items() if not key.startswith("_")}
        return BundledConfig(name, plain, None, f"bundled config ({config.get('_source')}, {as_of})")
    path = _library().get(name)
    if path is None:
        return None
    quant = path.with_name(path.name.removesuffix(_CONFIG) + _QUANT)
    quant_config = read_json(quant) if quant.is_file() else None
    return BundledConfig(name, read_json(path), quant_config, "the estimator library's bundled config")


@cache
def _ours() -> tuple[Mapping[str, Mapping[str, object]], Mapping[str, str], str]:
    text = resources.files("armature.model").joinpath("bundle/models.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return content["models"], content["aliases"], content["_as_of"]


@cache
def _library() -> Mapping[str, Path]:
    """Name to config file of the estimator library's bundle; empty where it is not installed."""
    spec = find_spec(_LIBRARY)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    files = (path for root in roots for path in sorted(Path(root, "model_configs").glob(f"*{_CONFIG}")))
    return {
        path.name.removesuffix(_CONFIG).replace("--", "/", 1): path
        for path in files
        if not path.name.endswith(_QUANT)
    }
