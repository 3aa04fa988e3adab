"""Prices per GPU-hour. We know none: they come from the user, by `--price` or `$ARMATURE_PRICES`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from armature.errors import InvalidInput, Problem
from armature.hardware.catalog import closest_sku, find

__all__ = ["PRICES_VARIABLE", "parse_prices"]

PRICES_VARIABLE = "ARMATURE_PRICES"
_MAX_PRICE = 1e6
_EXAMPLE = "write it as h200_sxm=3.2"


def parse_prices(flags: Sequence[str], env: Mapping[str, str]) -> dict[str, float]:
    """Price per GPU-hour by canonical SKU, in whatever currency the user thinks in.

    flags: values of `--price`, each `SKU=PRICE` or several with commas. `$ARMATURE_PRICES` has the same form;
    a flag wins over it. Raises InvalidInput with every problem of both.
    """
    problems: list[Problem] = []
    from_env = _parse([env.get(PRICES_VARIABLE, "")], f"${PRICES_VARIABLE}", problems)
    from_flags = _parse(flags, "--price", problems)
    if problems:
        raise InvalidInput("prices", problems)
    return from_env | from_flags


def _parse(texts: Sequence[str], path: str, problems: list[Problem]) -> dict[str, float]:
    prices: dict[str, float] = {}
    for entry in (part.strip() for text in texts for part in text.split(",")):
        if not entry:
            continue
        name, equals, value = entry.partition("=")
        if not equals:
            problems.append(Problem(path, "is not SKU=PRICE", _EXAMPLE, entry))
            continue
        gpu = find(name)
        if gpu is None:
            close = closest_sku(name)
            mend = f"did you mean {close}?" if close else "`armature hardware` lists the SKUs"
            problems.append(Problem(path, "is not a known GPU SKU", mend, name.strip()))
        price = _price(value)
        if price is None:
            rule = "is not a price per GPU-hour: a number from 0 to 1,000,000"
            problems.append(Problem(path, rule, _EXAMPLE, entry))
        if gpu is None or price is None:
            continue
        if prices.get(gpu.sku, price) != price:
            problems.append(Problem(path, f"gives two prices for {gpu.sku}", "keep one", entry))
        prices[gpu.sku] = price
    return prices


def _price(text: str) -> float | None:
    try:
        price = float(text)
    except ValueError:
        return None
    return price if math.isfinite(price) and 0 <= price <= _MAX_PRICE else None
