"""The rule of the page is the search's rule: whatever targets are set, both pick the same candidate (UI-01, PAR-04).

The rule is written twice, in `search/pick.py` and in the page's `rule.js`: here the two are held together.
"""

from __future__ import annotations

import random
from dataclasses import fields

import numpy as np
import pytest
import yaml
from browser import selected, text
from cli_process import REQUEST
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from armature.api import check
from armature.report.words import layout
from armature.search.pick import best_first
from armature.search.sweep import Points
from armature.workload.shape import Sla, Workload

pytestmark = pytest.mark.e2e

NAMES = ("ttft_ms", "itl_ms", "e2e_ms")
KEYS = {"ttft_ms": "ttft", "itl_ms": "itl", "e2e_ms": "e2eLatency"}


def points_of(candidates, served):
    """The candidates as the rows that the search sorts."""
    known = {
        "prefill": np.array([0 if c.mode == "disagg" else -1 for c in candidates]),
        "stages": np.array([max(group.pp for group in c.groups) for c in candidates]),
        "gpus": np.array([c.gpus for c in candidates]),
        "rate": np.array([c.request_rate for c in candidates]),
        "served": np.array(served),
        **{name: np.array([getattr(c, name).value for c in candidates]) for name in NAMES},
    }
    return Points(*(known.get(f.name, np.zeros(len(candidates), dtype=np.int64)) for f in fields(Points)))


def order_by_search(profile, served, targets):
    workload = profile.workload
    asked = Workload(request_rate=workload.get("request_rate"), concurrency=workload.get("concurrency"))
    sla = Sla(**targets, optimize=profile.sla["optimize"])
    return best_first(points_of(profile.candidates, served), asked, sla).tolist()


def some_targets(profile, count, seed=4):
    """Targets around what the candidates do: each of the three there or not; some exactly what a candidate does."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        names = [name for name in NAMES if rng.random() < 0.6]
        targets = {}
        for name in names:
            value = getattr(rng.choice(profile.candidates), name).value
            targets[name] = value if rng.random() < 0.3 else value * rng.uniform(0.7, 1.5)
        made.append(targets)
    return made


@pytest.mark.parametrize("name", ["loaded", "free", "missed"])
def test_the_page_judges_as_the_search_does(driver, shown, name):
    profile = shown(name)
    marks = driver.execute_script(
        "return [...document.querySelectorAll('td.verdict')].map((v) => v.firstChild.data)"
    )
    places = driver.execute_script(
        "return [...document.querySelectorAll('tbody tr')].map((r) => Number(r.dataset.i))"
    )
    for i, said in zip(places, marks, strict=True):
        one = profile.candidates[i]
        met = one.meets_sla and one.carries_load
        assert said == ("missed" if not met else "at risk" if one.at_risk else "met"), one.id


@pytest.mark.parametrize("name", ["loaded", "free", "missed"])
def test_the_pages_rule_is_the_searchs_rule(driver, shown, name):
    """The whole order, for many targets: the rule was written twice and must not come apart."""
    profile = shown(name)
    plan = driver.execute_script("return JSON.parse(document.getElementById('plan').textContent)")
    served = [point["served"] for point in plan["points"]]
    asked = some_targets(profile, 400)
    orders = driver.execute_script(
        "return arguments[2].map((targets) => bestFirst(arguments[0], targets, arguments[1]))",
        plan["points"],
        plan["rule"],
        asked,
    )
    for targets, order in zip(asked, orders, strict=True):
        assert order == order_by_search(profile, served, targets), targets
    assert len({order[0] for order in orders}) > 1


@pytest.mark.parametrize("goal", ["latency", "gpus", "throughput"])
def test_the_rules_agree_where_everything_ties(driver, shown, goal):
    """Made-up points of few values: equal GPUs, latencies a percent apart, loads half carried."""
    shown("loaded")
    rng = random.Random(goal)
    cases = []
    for _ in range(150):
        count = rng.randint(1, 12)
        columns = {
            name: [
                rng.choice((10.0, 10.05, 20.0, *(10 * 1.01**n for n in range(1, 6)))) for _ in range(count)
            ]
            for name in NAMES
        }
        columns |= {
            "rate": [rng.choice((1.0, 1.004, 2.0, *(1.01**n for n in range(1, 6)))) for _ in range(count)],
            "gpus": [rng.choice((1, 2, 4)) for _ in range(count)],
            "stages": [rng.choice((1, 2)) for _ in range(count)],
            "prefill": [rng.choice((-1, 0)) for _ in range(count)],
            "served": [rng.choice((1.0, 1.0, 0.5)) for _ in range(count)],
        }
        targets = {name: rng.choice((9.0, 10.0, 15.0, 30.0)) for name in NAMES if rng.random() < 0.5}
        cases.append((columns, targets))
    orders = driver.execute_script(
        """return arguments[0].map(([c, targets]) => bestFirst(c.gpus.map((_, i) => ({
            gpus: c.gpus[i], stages: c.stages[i], rate: c.rate[i], served: c.served[i],
            mode: c.prefill[i] < 0 ? 'agg' : 'disagg',
            ttft_ms: [c.ttft_ms[i]], itl_ms: [c.itl_ms[i]], e2e_ms: [c.e2e_ms[i]],
        })), targets, {goal: arguments[1], equal: 0.01, tolerance: 1e-9}))""",
        cases,
        goal,
    )
    workload = Workload(request_rate=2.0 if goal == "gpus" else None)
    for (columns, targets), order in zip(cases, orders, strict=True):
        rows = Points(*(np.array(columns.get(f.name, columns["gpus"])) for f in fields(Points)))
        sla = Sla(**targets, optimize="latency" if goal == "latency" else "throughput")
        assert order == best_first(rows, workload, sla).tolist()


@pytest.mark.parametrize("name", ["loaded", "free"])
def test_a_target_that_is_typed_moves_the_pick(driver, shown, name):
    profile = shown(name)
    points = driver.execute_script("return JSON.parse(document.getElementById('plan').textContent).points")
    served = [point["served"] for point in points]
    targets = {key: value for key, value in profile.sla.items() if key in NAMES}
    picks = set()
    for change in [t for t in some_targets(profile, 30, seed=9) if t][:12]:
        for key, value in change.items():
            value = float(f"{value:.6g}")
            field = driver.find_element(By.CSS_SELECTOR, f"[data-name='{key}'] [type=number]")
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(str(value))
            for other in ("ttft_ms", "itl_ms") if key == "e2e_ms" else ("e2e_ms",):
                targets.pop(other, None)  # a request cannot state them together (VAL-02)
            targets[key] = value
        best = order_by_search(profile, served, targets)[0]
        assert selected(driver) == (best, profile.candidates[best].id)
        assert text(driver, "#answer strong") == layout(profile.candidates[best])
        asked = yaml.safe_load(text(driver, "#ask code"))["sla"]
        assert asked == {KEYS[key]: value for key, value in targets.items()}
        request = REQUEST + f"  sla: {asked}\n"
        assert not check(yaml.safe_load(request))[1]
        picks.add(best)
    assert len(picks) > 2
    driver.find_element(By.ID, "reset").click()
    assert selected(driver) == (0, profile.pick)


def test_a_slider_moves_the_pick_and_a_box_takes_the_target_away(driver, shown):
    profile = shown("free")
    slider = driver.find_element(By.CSS_SELECTOR, "[data-name='itl_ms'] [type=range]")
    slider.send_keys(*[Keys.ARROW_LEFT] * 60)
    asked = float(
        driver.find_element(By.CSS_SELECTOR, "[data-name='itl_ms'] [type=number]").get_property("value")
    )
    assert asked < profile.sla["itl_ms"]
    i, _ = selected(driver)
    assert i != 0
    assert profile.candidates[i].itl_ms.value <= asked
    assert [label.text for label in driver.find_elements(By.CSS_SELECTOR, "#plot text.name")] == [
        "plan's pick",
        "picked now",
    ]
    served = [1.0] * len(profile.candidates)
    assert i == order_by_search(profile, served, {"ttft_ms": profile.sla["ttft_ms"], "itl_ms": asked})[0]
    driver.find_element(By.CSS_SELECTOR, "[data-name='itl_ms'] [type=checkbox]").click()
    best = order_by_search(profile, served, {"ttft_ms": profile.sla["ttft_ms"]})[0]
    assert selected(driver)[0] == best
    assert "itl" not in text(driver, "#ask code")
