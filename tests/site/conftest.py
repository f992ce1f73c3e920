"""A site that is served, and a browser."""

import os
import shutil
from pathlib import Path

import browser
import pytest
import sites
from frameworks import needed


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The site in $SITE_DIR, else of the explorer's page alone, served."""
    for package in ("sphinx", "furo", "myst_parser"):
        needed(package)
    given = os.environ.get("SITE_DIR")
    folder = Path(given) if given else sites.build_explorer(tmp_path_factory.mktemp("site"))
    with sites.served(folder) as address:
        yield address


@pytest.fixture(scope="session")
def driver():
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs chromium and chromedriver on the path (Debian: chromium-driver)")
    with browser.headless_chromium(*paths) as driver:
        yield driver
