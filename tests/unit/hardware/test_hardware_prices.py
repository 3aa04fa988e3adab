"""Prices come from the user only; every problem at once."""

from __future__ import annotations

import pytest

from armature.errors import InvalidInput
from armature.hardware.prices import parse_prices


def test_no_price_is_invented():
    assert parse_prices([], {}) == {}


def test_flags_and_environment_are_read_and_a_flag_wins():
    env = {"ARMATURE_PRICES": "h200_sxm=3.2, l40s=1.1"}
    assert parse_prices([], env) == {"h200_sxm": 3.2, "l40s": 1.1}
    assert parse_prices(["h200_sxm=2.5", "t4=0.3,l4=0.6"], env) == {
        "h200_sxm": 2.5,
        "l40s": 1.1,
        "t4": 0.3,
        "l4": 0.6,
    }


def test_prices_are_keyed_by_the_canonical_sku():
    assert parse_prices(["gb200_sxm=9", "H100=0"], {}) == {"gb200": 9.0, "h100_sxm": 0.0}


@pytest.mark.parametrize("price", ["-1", "nan", "inf", "1e9", "", "3,2x", "three", "1e999"])
def test_a_price_that_cannot_be_is_refused(price):
    with pytest.raises(InvalidInput, match="--price"):
        parse_prices([f"h200_sxm={price}"], {})


def test_all_problems_of_flags_and_environment_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse_prices(["h300_sxm=-1", "l40s", "t4=1", "t4=2"], {"ARMATURE_PRICES": "h100_sxn=1"})
    told = str(caught.value)
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 5
    assert "$ARMATURE_PRICES: is not a known GPU SKU (got 'h100_sxn'); did you mean h100_sxm?" in told
    assert "two prices for t4" in told
