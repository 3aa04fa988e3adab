"""Writes docs/map.md: every module of the package in one line, taken from its docstring's first sentence.

Run `python docs/make_map.py`; a test fails while the file is not what this would write.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "armature"
TESTBED = ROOT / "testbed" / "armature_testbed"
LAYERS = [
    ("cli", "parse arguments, call one function, print"),
    ("local", "a graph as supervised processes on this machine"),
    ("operator", "a request on Kubernetes, through the same functions"),
    ("graph", "Profile to DynamoGraphDeployment, and the proof that it can start"),
    ("report", "a Profile for a person, and for a script"),
    ("search", "every layout, predicted; the front; the pick and why"),
    ("serving", "frontend, router, workers: what serves requests here"),
    ("perf", "step times of one engine, from silicon data or a roofline"),
    ("hardware", "what GPUs there are, which are free, and how we know"),
    ("model", "a model's shape, size and memory, from its config.json"),
    ("workload", "what is asked: request shape, load, targets"),
    ("api", "the nvidia.com kinds as types: load, default, validate, convert"),
]


def first_sentence(path: Path) -> str:
    """The docstring's first paragraph, cut at its first full stop; empty when there is none."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    line = " ".join(text.split("\n\n")[0].split())
    return line.split(". ")[0].rstrip(".")


def map_text() -> str:
    lines = [
        "# Map",
        "",
        "Every module in one line, from the top layer down. Made by `python docs/make_map.py`.",
        "",
    ]
    for room, purpose in LAYERS:
        lines += [f"## `{room}/`: {purpose}", "", "| module | why it exists |", "|---|---|"]
        for path in sorted((PACKAGE / room).rglob("*.py")):
            sentence = first_sentence(path)
            if path.name == "__init__.py" and not sentence:
                continue
            lines.append(f"| `{path.relative_to(PACKAGE).as_posix()}` | {sentence} |")
        lines.append("")
    lines += ["## The ground", "", "| module | why it exists |", "|---|---|"]
    lines += [f"| `{path.name}` | {first_sentence(path)} |" for path in sorted(PACKAGE.glob("*.py"))]
    lines += ["", "## `testbed/`: a real Kubernetes control plane as processes, for tests", ""]
    lines += ["| module | why it exists |", "|---|---|"]
    lines += [
        f"| `{path.relative_to(TESTBED).as_posix()}` | {first_sentence(path)} |"
        for path in sorted(TESTBED.rglob("*.py"))
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "map.md").write_text(map_text())
