"""A site of the explorer's page alone, in the theme of the whole."""

import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

CONFIGURATION = """
project = "explorer"
extensions = ["myst_parser"]
html_theme = "furo"
html_static_path = ["_static"]
root_doc = "explorer"
suppress_warnings = ["myst.xref_missing"]
"""


def build_explorer(folder: Path) -> Path:
    """Builds the page into a folder of `folder`, which it returns."""
    source, built = folder / "source", folder / "built"
    shutil.copytree(DOCS / "_static" / "explorer", source / "_static" / "explorer")
    shutil.copy(DOCS / "explorer.md", source)
    (source / "conf.py").write_text(CONFIGURATION)
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-W", source, built], check=True)
    return built
