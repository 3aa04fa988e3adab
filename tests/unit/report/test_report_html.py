"""`report.html` holds the whole plan, harms nobody, asks nothing of a network and stays small (UI-01, PAR-02)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from report_factory import AGG, DISAGG, candidate, group, number, profile

from armature.report.html import report_html
from armature.report.page_data import GRAPH_BYTES
from armature.report.words import layout
from armature.search.profile import Outcome, Relaxation, Suggestion
from armature.workload.summary import Spread, TraceSummary

GRAPHS = {"agg-1": "kind: A\nreplicas: 4\n", "disagg-1": "kind: A\nreplicas: 1\n"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;<!--\u2028\u0000"
VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Every element with its attributes, and the text of each element that is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs), []))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        for _, _, parts in self.open:
            parts.append(data)

    def handle_endtag(self, tag):
        opened, attrs, parts = self.open.pop()
        assert opened == tag
        self.texts.append((tag, attrs, "".join(parts)))

    def of(self, tag):
        return [text for name, _, text in self.texts if name == tag]

    @property
    def data(self):
        (text,) = (text for tag, attrs, text in self.texts if tag == "script" and attrs.get("id") == "plan")
        return json.loads(text, parse_constant=pytest.fail)


def test_it_says_what_was_asked_what_was_chosen_and_why():
    page = Page(report_html(profile(), GRAPHS, notes=("About your file.",)))
    body = " ".join(page.of("body")[0].split())
    for said in (
        "Qwen/Qwen3-32B-FP8",
        "4,000 → 1,000 tokens, 4 requests/s",
        "TTFT ≤ 2,000 ms, ITL ≤ 30.0 ms",
        "8×h200_sxm, stated",
        "silicon (operator times measured on this GPU)",
        "80 % band",
        "Choice: agg vllm 4×tp2, 8 GPUs",
        "Meets the SLA.",
        "Fewest GPUs that carry 4 requests/s within the SLA.",
        "About your file.",
        "Prefix caching is not assumed.",
        "412 layouts: 96 do not fit, 316 meet everything",
        "Among the 2 candidates that this plan kept",
    ):
        assert said in body, said
    assert page.of("title") == ["quickstart: agg vllm 4×tp2"]


def test_every_candidate_is_there_with_numbers_bands_source_and_verdict():
    missed = candidate("slow", [group("agg", 8, 1)], itl_ms=45.0)
    made = profile([AGG, DISAGG, missed])
    page = Page(report_html(made, GRAPHS))
    assert [point["id"] for point in page.data["points"]] == ["agg-1", "disagg-1", "slow"]
    rows = page.of("tr")[1:]
    assert len(rows) == 3
    for row, one in zip(rows, made.candidates, strict=True):
        words = row.split()
        assert layout(one, backend=False) in " ".join(words)
        assert {"silicon", f"{one.ttft_ms.value:.0f}", f"{one.ttft_ms.low:.0f}–{one.ttft_ms.high:.0f}"} <= {
            *words
        }
    verdicts = [
        text for tag, attrs, text in page.texts if tag == "td" and "verdict" in attrs.get("class", "")
    ]
    assert verdicts == ["met", "met", "missed"]


def test_percentiles_capacity_and_headroom_are_shown_where_there_are_any():
    made = replace(AGG, ttft_p95_ms=number(950.0), itl_p95_ms=number(17.5), capacity=5.5, headroom=1.375)
    page = Page(report_html(profile([made, DISAGG]), GRAPHS))
    facts, others = ({label: (text, band) for label, text, band in p["facts"]} for p in page.data["points"])
    assert facts["TTFT, p95"] == ("950 ms", "760–1,140")
    assert facts["ITL, p95"] == ("17.5 ms", "14.0–21.0")
    assert facts["Capacity, req/s"] == ("5.50", "")
    assert facts["Capacity to load"] == ("1.38×", "")
    assert not {"TTFT, p95", "Capacity, req/s"} & set(others)
    assert "950 ms" in page.of("main")[0]


def test_each_candidate_says_what_the_rule_holds_against_it():
    few = candidate("few", [group("agg", 2, 2)])
    page = Page(report_html(profile([few, AGG]), GRAPHS))
    assert [point["beside"] for point in page.data["points"]] == ["", "8 GPUs instead of 4"]
    assert "8 GPUs instead of 4" in page.of("tr")[2]
    assert "instead of" not in page.of("tr")[1]


def test_what_would_change_the_choice_and_what_the_trace_held_are_said():
    outcome = Outcome("agg vllm 4×tp2", "agg", 8, 4.0, 64.0, 400.0, 12.5, 12_900.0, 4000.0, 500.0, True, True)
    would = Suggestion("gpus", "h200_sxm", 16.0, True, {}, outcome, "16 h200_sxm would meet it <all>.")
    step = Relaxation(
        "itl_ms", None, 0.1, 33.0, True, True, outcome, 0.2, 0, 0.0, None, "ITL 33 ms: 20 % more."
    )
    body = Page(report_html(replace(profile(), suggestions=(would,)), {})).of("main")[0]
    assert "What would meet it" in body
    assert would.text in body
    body = Page(report_html(replace(profile(), relaxations=(step,)), {})).of("main")[0]
    assert "What one step would change" in body
    assert step.text in body
    trace = TraceSummary("log.jsonl", 3, 3, 2.0, 1.5, 1.5, 1.0, Spread(9, 9, 9, 9), Spread(5, 5, 5, 5))
    body = Page(report_html(replace(profile(), trace=trace), {})).of("main")[0]
    assert "log.jsonl: 3 requests" in body


def test_numbers_are_the_profiles_own():
    """The script must come to the search's answer, so nothing is rounded on the way."""
    odd = candidate("odd", itl_ms=12.345678901234567, request_rate=3.9999, carries_load=False)
    point = Page(report_html(profile([odd]), {})).data["points"][0]
    assert point["itl_ms"] == [odd.itl_ms.value, odd.itl_ms.low, odd.itl_ms.high]
    assert point["served"] == 3.9999 / 4
    almost = replace(odd, request_rate=4.0)
    assert Page(report_html(profile([almost]), {})).data["points"][0]["served"] < 1


def test_graphs_are_whole_and_the_first_shown_reads_without_a_script():
    page = Page(report_html(profile(), GRAPHS, chosen="disagg-1"))
    data = page.data
    texts = {i: "\n".join(data["lines"][n] for n in numbers) for i, numbers in data["yaml"].items()}
    assert texts == {"0": GRAPHS["agg-1"], "1": GRAPHS["disagg-1"]}
    assert data["chosen"] == 1
    assert GRAPHS["disagg-1"] in page.of("noscript")[0]


def test_what_has_no_graph_says_why():
    page = Page(report_html(profile(), {"agg-1": "a"}, refused={"disagg-1": "vLLM cannot do that."}))
    assert page.data["refused"] == {"1": "vLLM cannot do that."}
    assert "1" not in page.data["yaml"]


def hostile_profile(text):
    made = candidate("agg-1", notes=(text,), margins=())
    return replace(
        profile([made, replace(DISAGG, id=text)], notes=(text,), reasons=(text,), considered={text: 3}),
        model=text,
        name=text,
        model_source=text,
        inventory_source=text,
        armature=text,
    )


def tags(page):
    return [(tag, sorted(attrs)) for tag, attrs in page.elements]


@pytest.mark.parametrize(
    "text", [HOSTILE, "]]>", "-->", "&", "{{ 7*7 }}{% raw %}", "\\u003c", "日本語 é", "'\" onload=x"]
)
def test_nothing_a_name_or_a_note_holds_becomes_markup(text):
    plain = Page(report_html(hostile_profile("text"), {"agg-1": "text"}))
    page = Page(report_html(hostile_profile(text), {"agg-1": text}))
    assert tags(page) == tags(plain)
    data = page.data
    assert data["points"][0]["notes"] == [text]
    assert data["points"][1]["id"] == text
    assert [data["lines"][n] for n in data["yaml"]["0"]] == text.split("\n")
    assert "49" not in page.of("h1")[0]


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=40))
def test_any_text_comes_back_as_it_was(text):
    page = Page(report_html(hostile_profile(text), {"agg-1": text}))
    assert page.data["points"][0]["notes"] == [text]
    assert text in page.of("h1")


def test_the_policy_allows_no_request_and_no_script_but_its_own():
    page = Page(report_html(profile(), GRAPHS))
    (policy,) = (a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    (script,) = (text for tag, attrs, text in page.texts if tag == "script" and not attrs)
    (style,) = page.of("style")
    for name, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_it_names_no_address_to_fetch():
    page = Page(report_html(profile(), GRAPHS))
    loaded = [
        a[key] for _, a in page.elements for key in ("src", "href", "action", "srcset", "style") if key in a
    ]
    assert loaded == ["data:,"]
    (style,) = page.of("style")
    assert not re.search(r"url\(|@import", style)


def dense(count=180):
    """As many candidates as a plan keeps, none like another, each with a long graph."""
    made = [
        candidate(f"c{n}", [group("prefill", 1 + n % 7, 1), group("decode", 1 + n // 7, 2)], itl_ms=5 + n / 7)
        for n in range(count)
    ]
    graphs = {
        one.id: "".join(
            f"    key{n}: value of the graph, number {n if n > 8 else hash((n, k))}\n" for n in range(140)
        )
        for k, one in enumerate(made)
    }
    return profile(made), graphs


def test_the_largest_plan_stays_well_below_its_limit():
    made, graphs = dense()
    page = report_html(made, graphs)
    assert len(Page(page).data["yaml"]) == 180
    assert len(page.encode()) < 900_000


def test_graphs_beyond_the_limit_are_left_out_the_last_first_and_said_so():
    made, _ = dense()
    graphs = {one.id: "\n".join(f"{one.id} {n} {'x' * 100}" for n in range(200)) for one in made.candidates}
    page = report_html(made, graphs, chosen="c179")
    data = Page(page).data
    kept = sorted(map(int, data["yaml"]))
    assert kept == [*range(len(kept) - 1), 179]
    assert 5 < len(kept) < 180
    assert set(data["refused"]) == {str(n) for n in range(180)} - set(data["yaml"])
    assert GRAPH_BYTES < len(page.encode()) < 1_500_000


def test_the_same_plan_gives_the_same_bytes():
    made, graphs = dense(20)
    assert report_html(made, graphs) == report_html(made, dict(reversed(graphs.items())))


def test_without_targets_prices_or_bands_it_still_stands():
    bare = candidate("agg-1", targets={}, cost_per_million_tokens=0.25)
    bare = replace(bare, itl_ms=replace(bare.itl_ms, low=bare.itl_ms.value, high=bare.itl_ms.value))
    made = profile([bare], sla={"optimize": "throughput"}, workload={"isl": 1.0, "osl": 1.0})
    page = Page(report_html(made, {}))
    data = page.data
    assert data["rule"]["goal"] == "throughput"
    assert [target["asked"] for target in data["targets"]] == [None, None, None]
    assert "no SLA stated" in page.of("header")[0]
    assert "0.25" in page.of("tr")[1]
