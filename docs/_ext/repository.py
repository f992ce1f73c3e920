"""Pages made of files of the repository: README, the examples; links to files outside docs/."""

import ast
import os
import re
import textwrap
from pathlib import Path

import names
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"^- \[(\w+)\.py\]\(\.\./examples/\1\.py\)$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[((?:[^][]|\[[^]]*\])*)\]\((\.\./[^)#]*)(#[^)]*)?\)")


def setup(app):
    app.connect("source-read", read)
    return {"parallel_read_safe": True}


def read(app, page, source):
    """Fills in what a page takes from the repository, before it is parsed."""
    text = source[0].replace("<!-- README -->", readme())
    text = EXAMPLE.sub(lambda match: example(ROOT / "examples" / f"{match[1]}.py"), text)
    if page == "examples":
        check_complete(source[0])
    source[0] = names.in_page(LINK.sub(linked, text))


def readme() -> str:
    """README as seen from docs/."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!https?:|#)", "](../", text)
    return text.replace("](../docs/", "](")


def linked(match: re.Match) -> str:
    """A link that leads out of docs/: into the repository, or to a copy of the file, or plain."""
    text, path, fragment = match[1], match[2], match[3] or ""
    repository = os.environ.get("REPOSITORY", "").rstrip("/")
    if repository:
        return f"[{text}]({repository}/blob/HEAD/{path.removeprefix('../')}{fragment})"
    target = (ROOT / "docs" / path).resolve()
    return f"[{text}]({path})" if target.is_file() and target.suffix != ".md" else text


def check_complete(text: str):
    """Fails the build where the gallery leaves an example out."""
    left_out = {path.stem for path in ROOT.glob("examples/*.py")} - set(EXAMPLE.findall(text))
    if left_out:
        raise ExtensionError(f"docs/examples.md shows no {', '.join(sorted(left_out))}")


def example(path: Path) -> str:
    """One section: the docstring of a file of examples/, and its code to unfold."""
    source = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    title, _, body = docstring.partition("\n\n")
    title = " ".join(title.split()).rstrip(".")
    body = re.sub(r"(?:^ {4}.*\n?)+", _diff, body, flags=re.MULTILINE)
    return f"""({path.stem})=
### {title}

{body}

:::{{dropdown}} examples/{path.name}
```{{literalinclude}} ../examples/{path.name}
:language: python
```
:::
"""


def _diff(match: re.Match) -> str:
    return f"```diff\n{textwrap.dedent(match[0])}```\n"
