"""What the page's script works on: each candidate as numbers for the plot and the rule, and as words to show.

Words are made here, so that the page, the terminal and the JSON never disagree about digits. Numbers are the
Profile's own, unrounded: the script applies the search's rule to them and must come to the search's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.report.words import amount, layout
from armature.search.explain import difference
from armature.search.pick import EQUAL, TOLERANCE
from armature.search.profile import Candidate, Group, Number, Profile
from armature.workload.shape import Sla, Workload

__all__ = ["GRAPH_BYTES", "LAST_OF_CHOICE", "TARGETS", "page_data", "seconds"]

TARGETS = {"ttft_ms": "TTFT", "itl_ms": "ITL", "e2e_ms": "Request"}
"""Estimates that may have a target, as the page labels them."""
SPEC_KEYS = {"ttft_ms": "ttft", "itl_ms": "itl", "e2e_ms": "e2eLatency"}
"""Their fields of spec.sla."""
INSTEAD = {"ttft_ms": ["e2e_ms"], "itl_ms": ["e2e_ms"], "e2e_ms": ["ttft_ms", "itl_ms"]}
"""Targets that a request cannot state beside them (VAL-02)."""
GRAPH_BYTES = 900_000
"""Graphs that would take the page beyond this are left out, the last candidates first."""
LAST_OF_CHOICE = "GPUs"
"""The facts up to here stand beside the choice; all of them in the panel of the selected candidate."""

_GB = 1e9
_LEFT_OUT = "Left out to keep this page small."


def page_data(
    profile: Profile, graphs: Mapping[str, str], *, refused: Mapping[str, str], chosen: str
) -> dict[str, Any]:
    """Plain data for `page.js`; candidates are named by their place in `profile.candidates`.

    graphs: YAML by candidate id. refused: why a candidate has no graph, by id. chosen: the id shown first.
    """
    place = {candidate.id: number for number, candidate in enumerate(profile.candidates)}
    order = sorted(profile.candidates, key=lambda candidate: (candidate.id != chosen, place[candidate.id]))
    lines, yaml, left_out = _shared_lines({c.id: graphs[c.id] for c in order if c.id in graphs})
    loaded = _asked_load(profile) is not None
    goal = "latency" if profile.sla.get("optimize") == "latency" else "gpus" if loaded else "throughput"
    return {
        "rule": {"goal": goal, "equal": EQUAL, "tolerance": TOLERANCE, "loaded": loaded},
        "targets": [
            {
                "name": name,
                "label": label,
                "key": SPEC_KEYS[name],
                "instead": INSTEAD[name],
                "asked": profile.sla.get(name),
            }
            for name, label in TARGETS.items()
        ],
        "points": [_point(profile, candidate) for candidate in profile.candidates],
        "pick": place[profile.pick],
        "chosen": place[chosen],
        "front": [place[id] for id in profile.pareto],
        "lines": lines,
        "yaml": {str(place[id]): numbers for id, numbers in yaml.items()},
        "refused": {str(place[id]): why for id, why in {**refused, **left_out}.items()},
    }


def _shared_lines(graphs: Mapping[str, str]) -> tuple[list[str], dict[str, list[int]], dict[str, str]]:
    """(all lines that occur, each text as numbers of lines, why some texts are not there).

    The graphs of one plan differ in a few lines: one copy of each line makes a hundred of them as small as two.
    """
    known: dict[str, int] = {}
    texts: dict[str, list[int]] = {}
    left_out: dict[str, str] = {}
    size = 0
    for id, text in graphs.items():
        lines = text.split("\n")
        size += 5 * len(lines) + sum(len(line.encode()) + 3 for line in {*lines} - known.keys())
        if size > GRAPH_BYTES and texts:
            left_out[id] = _LEFT_OUT
            continue
        texts[id] = [known.setdefault(line, len(known)) for line in lines]
    return list(known), texts, left_out


def _point(profile: Profile, candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "label": layout(candidate),
        "mode": candidate.mode,
        "gpus": candidate.gpus,
        "stages": max(group.pp for group in candidate.groups),
        "served": _served(profile, candidate),
        "rate": candidate.request_rate,
        "concurrency": candidate.concurrency,
        "per_gpu": candidate.tokens_per_s_per_gpu,
        "cost": candidate.cost_per_million_tokens,
        "source": candidate.source,
        "x": candidate.tokens_per_s_per_user,
        "y": candidate.front_y,
        **{name: _triple(getattr(candidate, name)) for name in TARGETS},
        "beside": _beside(profile, candidate),
        "facts": _facts(candidate),
        "groups": [_group(group) for group in candidate.groups],
        "notes": list(candidate.notes),
    }


def _facts(candidate: Candidate) -> list[tuple[str, str, str]]:
    """(label, value, band or ""), as the panel of the selected candidate lists them."""
    facts = [
        ("TTFT", *_banded(candidate.ttft_ms, "ms")),
        ("ITL", *_banded(candidate.itl_ms, "ms")),
        ("Request", *_banded(seconds(candidate.e2e_ms), "s")),
        ("Tokens/s/user", amount(candidate.tokens_per_s_per_user), ""),
        ("Tokens/s/GPU", amount(candidate.tokens_per_s_per_gpu), ""),
        ("Tokens/s", amount(candidate.tokens_per_s), ""),
        ("Requests/s", amount(candidate.request_rate), ""),
        ("In flight", amount(candidate.concurrency), ""),
    ]
    percentiles = {"TTFT, p95": candidate.ttft_p95_ms, "ITL, p95": candidate.itl_p95_ms}
    facts += [(label, *_banded(number, "ms")) for label, number in percentiles.items() if number is not None]
    sized = {
        "Capacity, req/s": (candidate.capacity, ""),
        "Capacity to load": (candidate.headroom, "×"),
        "Per million tokens": (candidate.cost_per_million_tokens, ""),
        "J/token, at most": (candidate.joules_per_token, ""),
    }
    facts += [(label, f"{amount(n)}{unit}", "") for label, (n, unit) in sized.items() if n is not None]
    medians = {"TTFT, median": candidate.ttft_p50_ms, "ITL, median": candidate.itl_p50_ms}
    return [
        *facts,
        (LAST_OF_CHOICE, str(candidate.gpus), ""),
        *((label, *_banded(number, "ms")) for label, number in medians.items() if number is not None),
        ("TTFT, idle server", f"{amount(candidate.unloaded_ttft_ms)} ms", ""),
        ("ITL, idle server", f"{amount(candidate.unloaded_itl_ms)} ms", ""),
        ("Source", candidate.source, ""),
    ]


def _banded(number: Number, unit: str) -> tuple[str, str]:
    if number.low == number.high:
        return f"{amount(number.value)} {unit}", ""
    return f"{amount(number.value)} {unit}", f"{amount(number.low)}–{amount(number.high)}"


def _group(group: Group) -> str:
    """`3 prefill workers of tp2 on h200_sxm: 8 in flight per rank; 16.4 GB of weights and 9.1 GB of KV per GPU`."""
    role = "" if group.role == "agg" else f"{group.role} "
    workers = f"{group.replicas} {role}worker{'s' if group.replicas != 1 else ''}"
    weights, kv = (amount(n / _GB) for n in (group.weight_bytes_per_gpu, group.kv_bytes_per_gpu))
    return (
        f"{workers} of {group.parallelism.label} on {group.sku}: {group.batch:,} in flight per rank (at most "
        f"{group.max_num_seqs:,}); {weights} GB of weights and {kv} GB of {group.kv_dtype} KV cache per GPU"
    )


def _beside(profile: Profile, candidate: Candidate) -> str:
    """What the rule holds against the candidate; nothing against the pick."""
    if candidate.id == profile.pick:
        return ""
    asked = profile.workload
    workload = Workload(request_rate=asked.get("request_rate"), concurrency=asked.get("concurrency"))
    stated: dict[str, Any] = dict(profile.sla)
    return difference(candidate, profile.picked, workload, Sla(**stated))


def _asked_load(profile: Profile) -> tuple[str, float] | None:
    """(the candidate's field, what was asked of it)."""
    for asked, carried in (("request_rate", "request_rate"), ("concurrency", "concurrency")):
        if profile.workload.get(asked):
            return carried, profile.workload[asked]
    return None


def _served(profile: Profile, candidate: Candidate) -> float:
    """Share of the asked load that is carried; below 1 exactly where the search says that it is not carried."""
    load = _asked_load(profile)
    if candidate.carries_load or load is None:
        return 1.0
    field, asked = load
    carried = float(getattr(candidate, field))
    return min(max(carried / asked, 0.0), 1.0 - 2 * TOLERANCE)


def _triple(number: Number) -> tuple[float, float, float]:
    return number.value, number.low, number.high


def seconds(number: Number) -> Number:
    """Milliseconds as seconds."""
    return Number(*(value / 1000 for value in _triple(number)))
