"""Headless Chromium as the tests use it: explicit paths, nothing downloaded."""

import json
from contextlib import contextmanager

from frameworks import needed

webdriver = needed("selenium.webdriver")
service = needed("selenium.webdriver.chrome.service")

ARGUMENTS = "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"


@contextmanager
def headless_chromium(chromium: str, chromedriver: str):
    """A driver that keeps the console's and the network's log."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver, width: int, height: int = 900) -> None:
    """Makes the page that many CSS pixels wide, also where a window cannot be so narrow."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def console_errors(driver) -> list[str]:
    """Errors since the last call; a site need have no icon."""
    severe = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    messages = [entry["message"] for entry in severe]
    return [message for message in messages if "/favicon.ico" not in message]


def requested(driver) -> list[str]:
    """The addresses requested since the last call."""
    entries = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [entry for entry in entries if entry["method"] == "Network.requestWillBeSent"]
    return [entry["params"]["request"]["url"] for entry in sent]
