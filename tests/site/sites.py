"""Sites under test: the explorer's page alone, in the theme of the whole; and their serving."""

import functools
import http.server
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
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


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder: Path):
    """The address at which a folder is served on a free port."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
