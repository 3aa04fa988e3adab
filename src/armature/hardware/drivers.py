"""The oldest drivers the runtime images work with (HW-08), as a note for whoever reads a driver's version."""

from __future__ import annotations

__all__ = ["driver_note", "parse_version"]

# CUDA 12.9 images need 575.51.03; Blackwell Ultra and Rubin need CUDA 13 and with it 580.00.03.
_CUDA12 = ((575, 51, 3), "575.51.03", "CUDA 12")
_CUDA13 = ((580, 0, 3), "580.00.03", "CUDA 13")
_CUDA13_ARCHITECTURES = frozenset({"Blackwell Ultra", "Rubin"})


def parse_version(text: str) -> tuple[int, ...] | None:
    """`575.51.03` as numbers; None when it is not a version."""
    parts = text.strip().split(".")
    if not parts or not all(part.isdecimal() and len(part) < 9 for part in parts):
        return None
    return tuple(int(part) for part in parts)


def driver_note(version: str, architecture: str, where: str) -> str | None:
    """What is wrong with this NVIDIA driver for this GPU architecture, or None. `where` names the node or machine."""
    number = parse_version(version)
    if number is None:
        return None
    least, shown, cuda = _CUDA13 if architecture in _CUDA13_ARCHITECTURES else _CUDA12
    if number >= least[: len(number)]:
        return None
    return f"{where}: driver {version} is older than {shown}, which the {cuda} runtime images need."
