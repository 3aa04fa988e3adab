"""`report.html`: the plan as one page that needs nothing else, for a browser, from a file or a mail.

The page is HTML that reads without a script (what was asked, the choice, why, the candidates, the graph) and a
script that draws the front and applies the search's rule to other targets. Its Content-Security-Policy allows no
request to anywhere, and no script or style but these two, by their hashes: what a model's name or a note holds can
never run. Pure: the same profile and graphs give the same bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2

from armature.report.changes import changes
from armature.report.page_data import LAST_OF_CHOICE, page_data, seconds
from armature.report.trace import trace_sentences
from armature.report.words import (
    UNICODE,
    amount,
    gpus,
    layout,
    load,
    pools,
    summary,
    targets,
    yield_title,
)
from armature.search.considered import considered_text
from armature.search.profile import Candidate, Number, Profile

__all__ = ["report_html"]

_SCRIPTS = ("rule.js", "plot.js", "page.js")
_SOURCES = {
    "measured": "measured on this hardware",
    "calibrated": "operator times measured on this GPU, corrected by measured deployments",
    "silicon": "operator times measured on this GPU",
    "estimated": "the GPU's figures, or another GPU's measurements: the widest bands",
}


@dataclass(frozen=True, slots=True)
class _Column:
    """`key`: the field of a point that the script sorts by. cell: (the number, its band or ""). extra: hidden where
    the screen is narrow."""

    key: str
    head: str
    says: str
    cell: Callable[[Candidate], tuple[str, str]]
    extra: bool = False


def report_html(
    profile: Profile,
    graphs: Mapping[str, str],
    *,
    refused: Mapping[str, str] | None = None,
    chosen: str | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page of a plan.

    graphs: YAML to apply, by candidate id. refused: why a candidate has no graph, by id. chosen: the candidate whose
    graph is shown first, by default the pick. notes: besides the profile's.
    """
    chosen = chosen or profile.pick
    data = page_data(profile, graphs, refused=refused or {}, chosen=chosen)
    pick = profile.picked
    style, script = _asset("page.css"), "".join(_asset(name) for name in _SCRIPTS)
    columns = _columns(profile)
    one_backend = len({candidate.backend for candidate in profile.candidates}) == 1
    change_title, change_sentences = changes(profile)
    return _template().render(
        policy=(
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
        style=style,
        script=script,
        data=_script_json(data),
        profile=profile,
        pick=pick,
        pick_label=layout(pick),
        pick_gpus=gpus(pick.gpus),
        trace=trace_sentences(profile),
        pick_facts=_facts_beside_the_choice(data),
        state=_state(pick),
        summary=summary(pick),
        asked=_asked(profile),
        change_title=change_title,
        changes=change_sentences,
        considered=considered_text(profile.considered) if profile.considered.get("layouts") else "",
        columns=columns,
        rows=[
            (candidate, [column.cell(candidate) for column in columns]) for candidate in profile.candidates
        ],
        labels={c.id: layout(c, backend=not one_backend) for c in profile.candidates},
        beside=[point["beside"].split(" (")[0] for point in data["points"]],
        verdicts={candidate.id: _verdict(candidate) for candidate in profile.candidates},
        front=frozenset(profile.pareto),
        chosen_label=layout(profile.candidate(chosen)),
        yaml=graphs.get(chosen, ""),
        yield_title=yield_title(profile),
        goal=_GOALS[data["rule"]["goal"]],
        loaded=data["rule"]["loaded"],
        targets=data["targets"],
        notes=list(dict.fromkeys([*notes, *pick.notes, *profile.notes])),
    )


_GOALS = {
    "gpus": "the fewest GPUs, then the lowest end-to-end latency",
    "throughput": "the most tokens/s, then the fewest GPUs",
    "latency": "the lowest end-to-end latency, then the fewest GPUs",
}


def _facts_beside_the_choice(data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    facts: list[tuple[str, str, str]] = data["points"][data["pick"]]["facts"]
    return facts[: [label for label, _, _ in facts].index(LAST_OF_CHOICE)]


def _asked(profile: Profile) -> list[tuple[str, str]]:
    """What was asked and where the numbers come from, as labels and sentences."""
    pool = profile.inventory[0]
    sources = [
        f"{name} ({_SOURCES[name]})" for name in _SOURCES if any(c.source == name for c in profile.candidates)
    ]
    sizes = f"{amount(profile.model_weight_bytes / 1e9)} GB of weights"
    context = f", {profile.model_max_context:,} tokens of context" if profile.model_max_context else ""
    return [
        ("Model", f"{sizes}{context}; facts from {profile.model_source}"),
        ("Workload", load(profile, UNICODE)),
        ("Targets", targets(profile, UNICODE)),
        ("Hardware", f"{pools(profile, UNICODE)}; {pool.gpus_per_node} per node"),
        ("Numbers", f"{' and '.join(sources)}. Small print beside a number: its nominal 80 % band."),
    ]


def _columns(profile: Profile) -> list[_Column]:
    columns = [
        _Column("gpus", "GPUs", "GPUs used", lambda c: (str(c.gpus), "")),
        _Column("ttft_ms", "TTFT ms", "mean time to the first token", lambda c: _banded(c.ttft_ms)),
        _Column("itl_ms", "ITL ms", "mean time between tokens", lambda c: _banded(c.itl_ms)),
        _Column("e2e_ms", "Request s", "mean end-to-end latency", lambda c: _banded(seconds(c.e2e_ms)), True),
        _Column(
            "per_gpu", "Tok/s/GPU", "tokens/s per GPU used", lambda c: (amount(c.tokens_per_s_per_gpu), "")
        ),
        _Column("x", "Tok/s/user", "1000 / ITL", lambda c: (amount(c.tokens_per_s_per_user), ""), True),
        _Column("rate", "Req/s", "requests per second", lambda c: (amount(c.request_rate), ""), True),
        _Column(
            "concurrency", "In flight", "requests in flight", lambda c: (amount(c.concurrency), ""), True
        ),
    ]
    if any(c.cost_per_million_tokens is not None for c in profile.candidates):
        columns.append(_Column("cost", "Per 1M tok", "cost of a million tokens", _cost, True))
    return columns


def _banded(number: Number) -> tuple[str, str]:
    """The number, and its band where it has one."""
    if number.low == number.high:
        return amount(number.value), ""
    return amount(number.value), f"{amount(number.low)}–{amount(number.high)}"


def _cost(candidate: Candidate) -> tuple[str, str]:
    cost = candidate.cost_per_million_tokens
    return ("" if cost is None else amount(cost), "")


def _state(candidate: Candidate) -> str:
    if not (candidate.meets_sla and candidate.carries_load):
        return "missed"
    return "risk" if candidate.at_risk else "met"


def _verdict(candidate: Candidate) -> str:
    """As the script says it once it runs, for readers without one."""
    return {"missed": "missed", "risk": "at risk", "met": "met"}[_state(candidate)]


@functools.cache
def _asset(name: str) -> str:
    return resources.files("armature.report").joinpath("page", name).read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("page.html"))


def _digest(text: str) -> str:
    """The text as a source of a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _script_json(data: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in "<>&"})
