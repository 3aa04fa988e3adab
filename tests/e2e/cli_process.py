"""Runs the command as a user does: a process of its own, its home and caches in a temporary directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

REQUEST = (ROOT / "tests" / "data" / "cli" / "request.yaml").read_text()


def environment(home: Path, **changes: str) -> dict[str, str]:
    """An environment without the user's caches, prices or colours; step times are the session's (tests/conftest.py)."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("ARMATURE_", "HF_", "COLUMNS", "NO_COLOR"))
    }
    own = {"HOME": str(home), "ARMATURE_HOME": str(home / "armature")}
    return {**kept, **own, "ARMATURE_CACHE": os.environ["ARMATURE_CACHE"], **changes}


def armature(
    *arguments: str | Path,
    home: Path,
    stdin: str | bytes | None = None,
    timeout: float = 60,
    env: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """`python -m armature ARGUMENTS`, to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "armature", *map(str, arguments)],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output="stdout" not in options,
        timeout=timeout,
        env=environment(home, **(env or {})),
        check=False,
        **options,
    )
    out, err = (b if b is not None else b"" for b in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out.decode(), err.decode())
