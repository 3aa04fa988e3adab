"""Writes src/armature/perf/silicon/lanes.json: which attention kernels the estimator library's tables hold.

The library reads the tables of a system four times to find out (half a second), each time a process starts; the
answer is the same as long as its version is. Run `python docs/make_lanes.py` when that version moves; a test compares
engines of two systems with the library's own, and for another version the file is not used.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from armature.perf.silicon.library import SYSTEMS, version

FILE = Path(__file__).parent.parent / "src" / "armature" / "perf" / "silicon" / "lanes.json"
TABLES = ("_context_attention_data", "_generation_attention_data")


def lanes(system: str, backend: str) -> tuple[str, dict[str, object]] | None:
    """Name and densities by view (`shared`: with rows of other versions; `own`) and table; None where nothing is
    asked because no kernel is known as the backend's default there."""
    from aiconfigurator_core.sdk.engine_table_view import fetch_attention_lane_density
    from aiconfigurator_core.sdk.operations.attention import resolve_lane_order
    from aiconfigurator_core.sdk.perf_database import get_database, get_version_slots

    slots = get_version_slots(system, backend)
    if slots is None:
        return None
    database = get_database(system, backend, slots["current"])
    order = resolve_lane_order(database, None)
    if order.pinned_count == 0 and not order.framework_default_matched:
        return None
    densities = {
        view: {table: fetch_attention_lane_density(database, table, shared_layer=shared) for table in TABLES}
        for view, shared in (("shared", True), ("own", False))
    }
    return f"{system}/{backend}/{slots['current']}", densities


def main() -> None:
    logging.disable(logging.WARNING)
    found = (
        lanes(system, backend)
        for system in sorted(set(SYSTEMS.values()))
        for backend in ("sglang", "trtllm", "vllm")
    )
    made = {"library": version(), "lanes": dict(each for each in found if each is not None)}
    rows = ",\n".join(f'  "{name}": {json.dumps(densities)}' for name, densities in made["lanes"].items())
    FILE.write_text(f'{{"library": "{made["library"]}", "lanes": {{\n{rows}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
