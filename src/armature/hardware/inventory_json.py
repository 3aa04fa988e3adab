"""An inventory as JSON: what the operator found, on its way to the profiling Job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from armature.errors import InvalidInput, Problem
from armature.hardware.gpu import Flops
from armature.hardware.inventory import Inventory

__all__ = ["inventory_from_json", "inventory_to_json"]


def inventory_to_json(inventory: Inventory) -> str:
    return msgspec.json.encode(inventory, enc_hook=_plain).decode()


def inventory_from_json(text: str) -> Inventory:
    """The inventory that `inventory_to_json` wrote. Raises InvalidInput for anything else."""
    try:
        return msgspec.json.decode(text, type=Inventory, dec_hook=_typed)
    except msgspec.MsgspecError as error:
        problem = Problem("--inventory", f"is not an inventory ({error})", "give what the operator wrote")
        raise InvalidInput("profile", [problem]) from None


def _plain(value: Any) -> dict[str, float]:
    assert isinstance(value, Mapping)
    return dict(value)


def _typed(type: Any, value: Any) -> Any:
    return Flops(value) if type is Flops else value
