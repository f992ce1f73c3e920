"""The library's docstrings as reStructuredText; every public name has an entry on the API page."""

import re

import names
from sphinx.errors import ExtensionError

import tbptt_jax

SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Example|References):$")


def setup(app):
    app.connect("autodoc-process-docstring", as_restructuredtext, priority=400)  # before napoleon
    app.connect("env-check-consistency", check_complete)
    return {"parallel_read_safe": True}


def as_restructuredtext(app, what, name, obj, options, lines):
    """Links names, marks equations and code as literal, makes references a list."""
    first = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    last = lines.index("References:") if "References:" in lines else len(lines)
    text = literal_blocks(lines[:first]) + lines[first:last] + list_of(lines[last:])
    lines[:] = map(names.in_docstring, text)


def literal_blocks(lines: list[str]) -> list[str]:
    """Text above the sections, where what is indented after an empty line is no prose."""
    marked, literal = [], False
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("    "):
            literal = False
        elif line and not before and not literal:
            marked += [".. code-block:: text", ""]
            literal = True
        marked.append(line)
    return marked


def list_of(lines: list[str]) -> list[str]:
    """References, each a line of indentation 2 and what continues it, as a list."""
    return [re.sub(r"^  (?=\S)", "  * ", line) for line in lines]


def check_complete(app, env):
    """Fails the build where a public name of the library has no entry."""
    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    missing = [name for name in tbptt_jax.__all__ if f"tbptt_jax.{name}" not in documented]
    if missing:
        raise ExtensionError(f"docs/api.md documents no {', '.join(missing)}")
