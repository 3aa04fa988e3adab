"""Kubernetes quantities (`500m`, `2Gi`) as exact numbers, and their share of a divisor as the downward API has it."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

__all__ = ["divided", "quantity"]

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,2})|([numk]|[KMGTPE]i|[MGTPE])?)")
_POWER = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(text: object) -> Decimal:
    """The number that a quantity stands for. Raises ValueError when it is none."""
    match = _FORM.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity (such as 500m, 2 or 4Gi)")
    number, exponent, suffix = match.groups()
    if suffix in _BINARY:
        return Decimal(number) * 1024 ** _BINARY[suffix]
    return Decimal(number) * Decimal(10) ** (int(exponent) if exponent else _POWER.get(suffix or "", 0))


def divided(amount: object, divisor: object = "1") -> int:
    """`amount / divisor`, rounded up to a whole number; a divisor of 0 counts as 1, as in the API."""
    by = quantity(divisor) or Decimal(1)
    return int((quantity(amount) / by).to_integral_value(ROUND_CEILING))
