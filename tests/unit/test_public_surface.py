"""Each module says what is public, and what it names is there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "src" / "armature", ROOT / "testbed" / "armature_testbed")
MODULES = sorted(
    ".".join((package.name, *path.relative_to(package).with_suffix("").parts))
    for package in PACKAGES
    for path in package.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("name", MODULES)
def test_module_lists_its_public_names(name):
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    assert listed is not None, f"{name} has no __all__"
    assert [public for public in listed if not hasattr(module, public)] == []
