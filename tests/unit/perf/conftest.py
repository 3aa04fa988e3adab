"""Models and GPUs for the tests of `perf`: facts from the estimator library's own bundle of config.json files."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

import pytest

from armature.model.facts import ModelFacts, facts_from_config


@cache
def library_facts(name: str) -> ModelFacts:
    package = importlib.util.find_spec("aiconfigurator_core")
    if package is None or package.origin is None:
        pytest.skip("aiconfigurator-core has no wheel for this platform")
    folder, stem = Path(package.origin).parent / "model_configs", name.replace("/", "--")
    quantisation = folder / f"{stem}_hf_quant_config.json"
    return facts_from_config(
        name,
        json.loads((folder / f"{stem}_config.json").read_text()),
        json.loads(quantisation.read_text()) if quantisation.is_file() else None,
        source="estimator bundle",
    )


@pytest.fixture(scope="session")
def facts():
    return library_facts
