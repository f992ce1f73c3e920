"""Every page of the site in a browser; $SITE_DIR is its folder."""

import os
from pathlib import Path

import browser
import pytest

SITE = os.environ.get("SITE_DIR")
PAGES = sorted(path.name for path in Path(SITE or ".").glob("*.html")) if SITE else []


@pytest.mark.skipif(not SITE, reason="needs the site that `make docs` builds, in $SITE_DIR")
def test_no_page_fails_or_asks_other_hosts(driver, address):
    assert {"index.html", "api.html", "explorer.html", "search.html"} <= {*PAGES}
    for page in PAGES:
        browser.console_errors(driver), browser.requested(driver)
        driver.get(f"{address}/{page}")
        assert browser.console_errors(driver) == [], page
        own = f"{address}/", "data:", "about:"
        assert [url for url in browser.requested(driver) if not url.startswith(own)] == [], page
