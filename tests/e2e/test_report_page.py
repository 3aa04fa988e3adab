"""`report.html` in a real browser: quiet, shows the pick, obeys pointer and keyboard, hands out the graph (UI-01).

Needs Debian's chromium and chromedriver; without them each test is skipped with a line that says so.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import complaints, selected, text
from cli_process import armature
from msgspec.structs import replace
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from armature.report.html import report_html
from armature.report.words import amount, layout
from armature.search.profile import Profile

pytestmark = pytest.mark.e2e

CHECKS = (Path(__file__).parent / "report_page_checks.js").read_text()


def mark(driver, i):
    return driver.find_element(By.CSS_SELECTOR, f"#plot .mark[data-i='{i}']")


def alone(driver):
    """Candidates that no other covers in the plot, so that a click can only mean them; the loneliest first."""
    return driver.execute_script(CHECKS + "return alone()")


def copied(driver):
    """What the page says once the button has done its work."""
    WebDriverWait(driver, 10).until(lambda _: text(driver, "#copied"))
    return text(driver, "#copied")


def paste(driver):
    """What the user gets who pastes now."""
    driver.execute_script(
        "document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))"
    )
    area = driver.find_element(By.ID, "paste")
    area.send_keys(Keys.CONTROL, "v")
    pasted = area.get_property("value")
    driver.execute_script("arguments[0].remove()", area)
    return pasted


@pytest.mark.parametrize("name", ["loaded", "free", "missed"])
def test_it_opens_on_the_pick(driver, shown, name):
    profile = shown(name)
    assert selected(driver) == (0, profile.pick) == (0, profile.candidates[0].id)
    assert text(driver, "#choice").startswith(f"Choice: {layout(profile.picked)}")
    assert text(driver, "#answer strong") == layout(profile.picked)
    assert driver.find_element(By.ID, "reset").get_property("disabled")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".mark")) == len(profile.candidates)
    assert text(driver, "#plot text.name") == "pick"
    state = text(driver, ".choice .verdict")
    assert ("MISSES the SLA" in state) == (name == "missed")
    assert ("none of which meets" in text(driver, "#answer")) == (name == "missed")


def test_a_click_on_another_point_selects_it(driver, shown):
    profile = shown("free")
    before = text(driver, "#yaml")
    for i in alone(driver)[:3]:
        ActionChains(driver).move_to_element(mark(driver, i)).click().perform()
        assert selected(driver) == (i, profile.candidates[i].id)
        assert layout(profile.candidates[i]) in text(driver, "#selected")
        assert text(driver, "#plot text.name") == "pick"
    assert text(driver, "#answer strong") == layout(profile.picked)  # what would be picked stays
    assert text(driver, "#yaml") != before
    row = driver.find_element(By.CSS_SELECTOR, "tbody tr:nth-child(2)")
    row.find_element(By.CSS_SELECTOR, "button").click()
    assert selected(driver)[0] == int(row.get_attribute("data-i"))


def test_a_pointer_over_a_point_shows_numbers_and_bands(driver, shown):
    profile = shown("free")
    tip = driver.find_element(By.CSS_SELECTOR, ".tip")
    assert not tip.is_displayed()
    i = alone(driver)[0]
    ActionChains(driver).move_to_element(mark(driver, i)).perform()
    one = profile.candidates[i]
    assert layout(one) in tip.text
    assert f"{amount(one.itl_ms.low)}–{amount(one.itl_ms.high)}" in tip.text
    assert driver.find_elements(By.CSS_SELECTOR, "#plot .whisker")
    ActionChains(driver).move_to_element(driver.find_element(By.TAG_NAME, "h1")).perform()
    assert not tip.is_displayed()


@pytest.mark.parametrize(("way", "name"), [("clipboard", "extras"), ("selection", "free")])
def test_the_copied_graph_is_the_written_one_and_validates(driver, shown, plans, tmp_path, way, name):
    """By the clipboard API, and by the older way of browsers that keep that from a file."""
    profile = shown(name)
    if way == "selection":
        driver.execute_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    driver.find_element(By.ID, "copy").click()
    assert copied(driver) == "Copied."
    assert paste(driver).rstrip() == written(plans[name])

    i = alone(driver)[0]
    mark(driver, i).click()
    driver.find_element(By.ID, "copy").click()
    assert copied(driver) == "Copied."
    saved = tmp_path / "dgd.yaml"
    saved.write_text(paste(driver))
    done = armature("validate", saved, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "DynamoGraphDeployment" in done.stdout
    own = tmp_path / "own"
    done = armature("select", plans[name], "--candidate", profile.candidates[i].id, "-o", own, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert saved.read_text().rstrip() == text(driver, "#yaml").rstrip() == written(own)


def written(directory):
    """What `-o` wrote to apply: the graph's ConfigMaps, when it has any, and the graph."""
    files = [directory / "extras.yaml", directory / "dgd.yaml"]
    return "---\n".join(file.read_text() for file in files if file.exists()).rstrip()


def test_the_keyboard_is_enough(driver, shown):
    profile = shown("free")
    active = driver.switch_to.active_element

    def tab_to(wanted, most=40):
        for _ in range(most):
            driver.switch_to.active_element.send_keys(Keys.TAB)
            if driver.execute_script(f"return document.activeElement.matches({wanted!r})"):
                return driver.switch_to.active_element
        raise AssertionError(f"Tab does not reach {wanted}")

    active.send_keys(Keys.HOME)
    here = tab_to(".mark")
    assert here.get_attribute("data-i") == "0"
    here.send_keys(Keys.ARROW_RIGHT)
    here = driver.switch_to.active_element
    i = int(here.get_attribute("data-i"))
    right_of_pick = sorted(profile.candidates, key=lambda c: (c.tokens_per_s_per_user, c.front_y))
    assert profile.candidates[i].id == right_of_pick[right_of_pick.index(profile.picked) + 1].id
    tip = driver.find_element(By.CSS_SELECTOR, ".tip")
    assert tip.is_displayed() and layout(profile.candidates[i]) in tip.text
    assert "TTFT" in here.get_attribute("aria-label")
    assert selected(driver)[0] == 0
    here.send_keys(Keys.ENTER)
    assert selected(driver)[0] == i
    driver.switch_to.active_element.send_keys(Keys.END)
    fastest = int(driver.switch_to.active_element.get_attribute("data-i"))
    assert profile.candidates[fastest].id == right_of_pick[-1].id
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)

    assert tab_to("[type=checkbox]")  # leaves the points in one step
    tab_to("#copy").send_keys(Keys.SPACE)
    assert copied(driver) == "Copied."
    tab_to("th[data-key='itl_ms'] button").send_keys(Keys.ENTER)
    assert (
        driver.find_element(By.CSS_SELECTOR, "th[data-key='itl_ms']").get_attribute("aria-sort")
        == "ascending"
    )
    first = driver.find_element(By.CSS_SELECTOR, "tbody tr").get_attribute("data-i")
    assert profile.candidates[int(first)].itl_ms.value == min(c.itl_ms.value for c in profile.candidates)
    tab_to("tbody th button").send_keys(Keys.ENTER)
    assert selected(driver)[0] == int(first)


def test_the_table_sorts_filters_and_unfolds(driver, shown):
    profile = shown("free")

    def visible():
        rows = "[...document.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility())"
        return driver.execute_script(f"return {rows}.map((row) => Number(row.dataset.i))")

    assert len(visible()) == 12
    assert visible()[0] == 0
    driver.find_element(By.ID, "more").click()
    assert len(visible()) == len(profile.candidates)
    for key, value in (("per_gpu", lambda c: c.tokens_per_s_per_gpu), ("ttft_ms", lambda c: c.ttft_ms.value)):
        head = driver.find_element(By.CSS_SELECTOR, f"th[data-key='{key}'] button")
        for _ in range(2):
            head.click()
            down = (
                driver.find_element(By.CSS_SELECTOR, f"th[data-key='{key}']").get_attribute("aria-sort")
                == "descending"
            )
            values = [value(profile.candidates[i]) for i in visible()]
            assert values == sorted(values, reverse=down)
    driver.find_element(By.CSS_SELECTOR, "[name=show][value=front]").click()
    assert {profile.candidates[i].id for i in visible()} == set(profile.pareto)
    driver.find_element(By.CSS_SELECTOR, "[name=show][value=met]").click()
    assert {profile.candidates[i].id for i in visible()} == {c.id for c in profile.candidates if c.meets_sla}


@pytest.mark.parametrize("name", ["loaded", "free", "missed"])
def test_a_phone_needs_no_sideways_scrolling(driver, shown, name):
    profile = shown(name, width=360, height=740, mobile=True)
    wide = "return [innerWidth, document.documentElement.scrollWidth]"
    assert driver.execute_script(wide) == [360, 360]
    small = driver.execute_script(CHECKS + "return tiny()")
    assert small == []
    i = alone(driver)[0]
    finger = ActionBuilder(driver, mouse=PointerInput("touch", "finger"))
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark(driver, i))
    finger.pointer_action.move_to(mark(driver, i)).click()
    finger.perform()
    assert selected(driver)[1] == profile.candidates[i].id
    tip = driver.find_element(By.CSS_SELECTOR, ".tip")
    assert tip.is_displayed() and layout(profile.candidates[i]) in tip.text
    box = driver.execute_script("return arguments[0].getBoundingClientRect().toJSON()", tip)
    assert box["left"] >= 0 and box["right"] <= 360
    assert driver.execute_script(wide) == [360, 360]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(driver, shown, scheme):
    """WCAG AA: 4.5 to 1 between every text and what lies behind it."""
    shown("missed", scheme=scheme)
    background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) < 3 * 64
    assert dark == (scheme == "dark")
    contrasts = driver.execute_script(CHECKS + "return contrasts()")
    assert len(contrasts) > 100
    assert [entry for entry in contrasts if entry[0] < 4.5] == []


def test_on_paper_it_is_black_on_white_without_controls(driver, shown):
    shown("loaded", scheme="dark", kind="print")
    assert (
        driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    for css in ("#copy", "#reset", "[type=range]", ".filter"):
        assert not driver.find_element(By.CSS_SELECTOR, css).is_displayed()
    assert driver.find_element(By.CSS_SELECTOR, "#plot svg").is_displayed()


def test_every_control_has_a_name(driver, shown):
    shown("loaded")
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "checkbox", "radio", "slider", "spinbutton", "option", "listbox", "region", "table"}
    named = [
        (n["role"]["value"], n.get("name", {}).get("value", ""))
        for n in nodes
        if n.get("role", {}).get("value") in roles
    ]
    assert {role for role, _ in named} >= roles - {"table"}
    assert [role for role, name in named if not name and role != "table"] == []


def test_what_the_page_could_fetch_is_refused(driver, plans):
    """Even a script of the page itself can ask for nothing, and one that is slipped in does not run."""
    driver.get((plans["loaded"] / "report.html").as_uri())
    refused = driver.execute_async_script("""
        const done = arguments[0], seen = [];
        document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
        const script = Object.assign(document.createElement('script'), {textContent: 'window.slipped = 1'});
        document.body.append(script, Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}));
        fetch('http://127.0.0.1:9/').catch(() => setTimeout(() => done([seen.sort(), window.slipped ?? 0]), 99));""")
    assert refused == [["connect-src", "img-src", "script-src-elem"], 0]
    complaints(driver)


def test_hostile_names_do_nothing(driver, plans, tmp_path):
    hostile = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'<!--"
    profile = Profile.read(plans["loaded"] / "profile.json")
    first = replace(profile.candidates[0], notes=(hostile,))
    profile = replace(
        profile, name=hostile, model=hostile, notes=(hostile,), candidates=(first, *profile.candidates[1:])
    )
    page = tmp_path / "report.html"
    page.write_text(report_html(profile, {profile.pick: f"model: {hostile}\n"}), encoding="utf-8")
    complaints(driver)
    driver.get(page.as_uri())
    assert complaints(driver) == []
    assert driver.execute_script(
        "return [window.pwned ?? null, document.querySelectorAll('img').length]"
    ) == [None, 0]
    assert text(driver, "h1") == hostile
    assert text(driver, "#yaml").strip() == f"model: {hostile}"
    assert hostile in text(driver, "#groups")
