"""The README is true: its files are the files, and its output is what the commands print.

`UPDATE_README=1 pytest tests/e2e/test_readme.py` writes the blocks anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FILE_BLOCK = re.compile(r"```yaml\n# (?P<path>examples/\S+)\n(?P<body>.*?)```", re.DOTALL)
CONSOLE_BLOCK = re.compile(r"```console\n\$ armature (?P<command>[^\n]+)\n(?P<output>.*?)```", re.DOTALL)


def run_armature(command: str) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    argv = [sys.executable, "-m", "armature", *command.split()]
    done = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n") + "\n"


def file_text(path: str) -> str:
    """The example without its leading comment."""
    lines = (ROOT / path).read_text().splitlines()
    while lines and (lines[0].startswith("#") or not lines[0].strip()):
        lines.pop(0)
    return "\n".join(lines) + "\n"


def rewritten(text: str) -> str:
    text = FILE_BLOCK.sub(lambda m: f"```yaml\n# {m['path']}\n{file_text(m['path'])}```", text)
    return CONSOLE_BLOCK.sub(
        lambda m: f"```console\n$ armature {m['command']}\n{run_armature(m['command'])}```", text
    )


@pytest.mark.e2e
def test_readme_shows_real_files_and_real_output():
    text = README.read_text()
    assert FILE_BLOCK.search(text)
    assert CONSOLE_BLOCK.search(text)
    current = rewritten(text)
    if os.environ.get("UPDATE_README"):
        README.write_text(current)
    assert README.read_text() == current, "run: UPDATE_README=1 pytest tests/e2e/test_readme.py"


@pytest.mark.e2e
def test_readme_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text()):
        assert (ROOT / target).exists(), target
