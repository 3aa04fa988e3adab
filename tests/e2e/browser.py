"""Debian's chromium without a window, driven through its own chromedriver: nothing is downloaded, nothing stays."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = (
    None
    if CHROMIUM and CHROMEDRIVER
    else "report.html is tested in chromium, which is missing: apt-get install chromium chromium-driver"
)


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A browser with an empty profile; at the end none of its processes is left."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    home = tempfile.mkdtemp(prefix="armature-chromium-")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # CI is root, where chromium has no sandbox
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--window-size=1280,900",
        f"--user-data-dir={home}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            yield driver
        finally:
            driver.quit()
        deadline = time.monotonic() + 10
        while left := processes_with(home):
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.1)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def processes_with(text: str) -> list[str]:
    """Command lines that contain the text, zombies left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the page has written to the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requested(driver: webdriver.Chrome) -> list[str]:
    """The addresses asked for since the last call; what is in the page, on the disk or in the browser left out."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("file:", "data:", "chrome:"))]


def screen(driver: webdriver.Chrome, width: int, height: int, *, mobile: bool = False) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
    )


def media(driver: webdriver.Chrome, kind: str = "screen", scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})


def text(driver: webdriver.Chrome, css: str) -> str:
    """What the user reads in the element."""
    return driver.find_element(By.CSS_SELECTOR, css).text


def selected(driver: webdriver.Chrome) -> tuple[int, str]:
    """The selected candidate by the plot, by the table and by its id in the panel, which must agree."""
    by_plot = driver.find_element(By.CSS_SELECTOR, ".mark[aria-selected='true']").get_attribute("data-i")
    by_table = driver.find_element(By.CSS_SELECTOR, "tr[aria-current]").get_attribute("data-i")
    assert by_plot == by_table
    return int(by_plot), text(driver, "#tags span:last-child")
