"""The engines a graph can run: one module each, and the table of them."""

from __future__ import annotations

from types import ModuleType
from typing import cast

from armature.graph.backends import mocker, sglang, trtllm, vllm
from armature.graph.backends.base import Backend

__all__ = ["BACKENDS", "backend_named"]

_MODULES: dict[str, ModuleType] = {"vllm": vllm, "sglang": sglang, "trtllm": trtllm, "mocker": mocker}
BACKENDS = tuple(_MODULES)


def backend_named(name: str) -> Backend:
    """The backend module, as the protocol it implements. Raises KeyError for any name not in `BACKENDS`."""
    return cast(Backend, _MODULES[name])
