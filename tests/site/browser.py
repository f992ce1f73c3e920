"""Headless Chromium as the tests use it: explicit paths, nothing downloaded."""

from contextlib import contextmanager

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ARGUMENTS = "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"


@contextmanager
def headless_chromium(chromium: str, chromedriver: str):
    """A driver that keeps the console's and the network's log."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver, width: int, height: int = 900) -> None:
    """Makes the page that many CSS pixels wide, also where a window cannot be so narrow."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
