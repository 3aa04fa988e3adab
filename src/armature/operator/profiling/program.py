"""What a profiling Job runs (`armature profile`): answers one request and says how it goes, in a ConfigMap or in files.

A failed profile is an answer too: the process then ends well, and the operator reads why from what was written. Only
what cannot be written ends it with an error, for the pod to carry.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from armature.errors import ArmatureError
from armature.hardware.inventory import Inventory
from armature.operator.profiling.answer import Failure, answer_of
from armature.operator.profiling.report import Data, answered, failed_with, told

__all__ = ["Writer", "into_directory", "profile"]

Writer = Callable[[Data], None]
"""Takes what is to be written: `data`, text by key, and `binaryData`, base64 by key."""


def profile(
    request: Mapping[str, Any],
    found: Inventory | None,
    writers: list[Writer],
    *,
    model_cache: Path | None = None,
    trace: Path | None = None,
) -> bool:
    """Answers a request and tells every writer of each step and of the result; whether there is an answer."""
    step = "Initializing"

    def tell(new: str) -> None:
        nonlocal step
        step = new
        _write(writers, told(step))

    tell(step)
    try:
        answer = answer_of(request, found=found, model_cache=model_cache, trace=trace, tell=tell)
    except ArmatureError as error:
        _write(writers, failed_with(step, Failure.of(error)))
        return False
    _write(writers, answered(answer))
    return True


def _write(writers: list[Writer], data: Data) -> None:
    for write in writers:
        write(data)


def into_directory(directory: Path) -> Writer:
    """Writes each key as a file, and `profiler_status.yaml` as the field's profiler does."""
    from armature.api.write import to_yaml_documents

    def write(data: Data) -> None:
        text = dict(data["data"])
        state = {
            "status": text.pop("profiler_status"),
            "phase": text.pop("phase"),
            "message": text.pop("message"),
        }
        if "profiler_error" in text:
            state["error"] = text.pop("profiler_error")
        for name, content in text.items():
            (directory / name).write_text(content)
        for name, packed in data.get("binaryData", {}).items():
            (directory / name).write_bytes(base64.b64decode(packed))
        (directory / "profiler_status.yaml").write_text(to_yaml_documents([state]))

    return write
