"""What the tests of `report.html` share: a browser, plans with their pages, and a page shown."""

from __future__ import annotations

import pytest
from browser import MISSING, browser, complaints, media, requested, screen
from cli_process import EXAMPLES, REQUEST, armature

from armature.search.profile import Profile

MISSED = REQUEST.replace(
    "workload: {isl: 4000, osl: 1000}",
    "workload: {isl: 4000, osl: 1000, requestRate: 30}\n  sla: {ttft: 100, itl: 2}",
)


@pytest.fixture(scope="module")
def driver():
    """Debian's chromium; without it the test is skipped with a line that says how to get it."""
    if MISSING:
        pytest.skip(MISSING)
    with browser() as driver:
        yield driver


@pytest.fixture(scope="session")
def plans(tmp_path_factory):
    """By name: the directory of a plan with a load, without one, with targets missed, with ConfigMaps."""
    home = tmp_path_factory.mktemp("plans")
    (home / "missed.yaml").write_text(MISSED)
    files = {
        "loaded": EXAMPLES / "quickstart.yaml",
        "extras": EXAMPLES / "latency.yaml",
        "free": EXAMPLES / "moe.yaml",
        "missed": home / "missed.yaml",
    }
    for name, file in files.items():
        done = armature("plan", file, "--offline", "-q", "-o", home / name, home=home)
        assert done.returncode == 0, done.stderr
    return {name: home / name for name in files}


@pytest.fixture
def shown(driver, plans):
    """Opens the page of a plan: its profile. At the end the page has neither complained nor asked for anything."""

    def show(name, *, width=1280, height=900, mobile=False, scheme="light", kind="screen"):
        screen(driver, width, height, mobile=mobile)
        media(driver, kind, scheme)
        driver.get((plans[name] / "report.html").as_uri())
        return Profile.read(plans[name] / "profile.json")

    complaints(driver), requested(driver)
    yield show
    assert complaints(driver) == []
    assert requested(driver) == []
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
