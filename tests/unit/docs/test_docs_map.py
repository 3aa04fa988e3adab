"""docs/map.md names every module, and every module says why it exists."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[3]


def load_make_map():
    spec = importlib.util.spec_from_file_location("make_map", ROOT / "docs" / "make_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_map_is_current():
    written = (ROOT / "docs" / "map.md").read_text()
    assert written == load_make_map().map_text(), "run: python docs/make_map.py"


def test_every_module_says_why_it_exists():
    make_map = load_make_map()
    silent = [
        str(path.relative_to(ROOT))
        for package in (make_map.PACKAGE, make_map.TESTBED)
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and not make_map.first_sentence(path)
    ]
    assert silent == []


def test_no_file_holds_two_ideas():
    long = {
        str(path.relative_to(ROOT)): count
        for root in ("src", "testbed")
        for path in (ROOT / root).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
