"""Numbers and layouts in the few characters that a table has room for.

One place decides how many digits a number deserves and which signs stand in where there is no Unicode, so
that the table, the sentences and the JSON labels never disagree.
"""

from __future__ import annotations

import msgspec

from armature.search.explain import amount
from armature.search.profile import Candidate, Number, Profile

__all__ = [
    "ASCII",
    "TARGET_NAMES",
    "UNICODE",
    "Glyphs",
    "amount",
    "band",
    "gpus",
    "layout",
    "load",
    "plain",
    "pools",
    "summary",
    "targets",
    "verdict",
    "yield_title",
]

TARGET_NAMES = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "request"}


class Glyphs(msgspec.Struct, frozen=True):
    """The signs of one kind of terminal."""

    times: str
    arrow: str
    at_most: str
    to: str
    dot: str
    met: str
    missed: str
    risk: str
    pick: str
    more: str


UNICODE = Glyphs("×", "→", "≤", "–", "·", "✓", "✗", "at risk", "▸", "…")
ASCII = Glyphs("x", "->", "<=", "-", "|", "ok", "MISS", "at risk", ">", "...")

_PLAIN = str.maketrans(
    {
        "×": "x",
        "→": "->",
        "≤": "<=",
        "≥": ">=",
        "–": "-",
        "—": "-",
        "·": "|",
        "✓": "ok",
        "✗": "X",
        "…": "...",
        "≈": "~",
        "±": "+/-",
        "µ": "u",
        "‘": "'",
        "’": "'",
        "“": '"',
        "”": '"',
        "\u00a0": " ",
        "\u202f": " ",
    }
)


def plain(text: str) -> str:
    """The text in ASCII: known signs spelled out, anything else a question mark."""
    return text.translate(_PLAIN).encode("ascii", "replace").decode("ascii")


def band(number: Number, glyphs: Glyphs) -> str:
    """A number with its nominal 80 % band, `8.60 (7.10–10.4)`; the number alone where it has no band."""
    if number.low == number.high:
        return amount(number.value)
    return f"{amount(number.value)} ({amount(number.low)}{glyphs.to}{amount(number.high)})"


def layout(candidate: Candidate, glyphs: Glyphs = UNICODE, *, backend: bool = True) -> str:
    """`agg vllm 4×tp2` or `disagg vllm 3×tp1 → 1×tp4`; where there are several pools, `4×tp2 @h200_sxm` or
    `3×tp1 @h200_sxm → 1×tp4 @l40s`."""
    skus = [group.sku for group in candidate.groups]
    parts = [f"{group.replicas}{glyphs.times}{group.parallelism.label}" for group in candidate.groups]
    if len(set(skus)) > 1:
        parts = [f"{part} @{sku}" for part, sku in zip(parts, skus, strict=True)]
    elif candidate.several_pools:
        parts[-1] += f" @{skus[0]}"
    words = [candidate.mode, *([candidate.backend] if backend else []), f" {glyphs.arrow} ".join(parts)]
    return " ".join(words)


def verdict(candidate: Candidate, glyphs: Glyphs) -> str:
    """One word on the stated targets and load: met, at risk or missed."""
    if not candidate.carries_load or not candidate.meets_sla:
        return glyphs.missed
    if candidate.at_risk:
        return glyphs.risk
    return glyphs.met


def load(profile: Profile, glyphs: Glyphs) -> str:
    """The workload in words: `4,000 → 1,000 tokens, 4 requests/s`."""
    workload = profile.workload
    words = [f"{workload['isl']:,.0f} {glyphs.arrow} {workload['osl']:,.0f} tokens"]
    if profile.trace is not None:
        words[0] += " (means of a trace)"
    if workload.get("request_rate"):
        words.append(f"{workload['request_rate']:g} requests/s")
    if workload.get("concurrency"):
        words.append(f"{workload['concurrency']:,.0f} in flight")
    return ", ".join(words)


def targets(profile: Profile, glyphs: Glyphs) -> str:
    """The SLA in words: `TTFT ≤ 2,000 ms, ITL ≤ 40 ms`."""
    words = [
        f"{name} {glyphs.at_most} {amount(float(profile.sla[key]))} ms"
        for key, name in TARGET_NAMES.items()
        if key in profile.sla
    ]
    if profile.sla.get("optimize") == "latency":
        words.append("lowest latency")
    return ", ".join(words) or "no SLA stated"


def pools(profile: Profile, glyphs: Glyphs) -> str:
    """The GPUs in words: `8×h200_sxm, stated`."""
    words = ", ".join(
        f"{pool.gpus}{glyphs.times}{pool.sku}" + (" (estimated)" if pool.estimated else "")
        for pool in profile.inventory
    )
    return f"{words}, {profile.inventory_source}"


def gpus(count: int) -> str:
    return f"{count} GPU{'s' if count != 1 else ''}"


def summary(candidate: Candidate) -> str:
    """What there is to say of a pick in half a sentence."""
    if any(not margin.met for margin in candidate.margins):
        return "the closest there is, but it MISSES the SLA"
    if not candidate.carries_load:
        return "the closest there is, but it does NOT carry the load"
    if not candidate.margins:
        return "the best found"
    return "meets the SLA, but is at risk" if candidate.at_risk else "meets the SLA"


def yield_title(profile: Profile) -> str:
    """What `Candidate.front_y` counts: GPUs used when a load was asked, else every GPU of the budget."""
    if profile.workload.get("request_rate") or profile.workload.get("concurrency"):
        return "tokens/s/GPU"
    return f"tokens/s/GPU, of all {profile.gpus_budget} GPUs"
