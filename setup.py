"""What depends on where the repository is: `[project.urls]`, and README's links on a package index.

A release is built with $REPOSITORY set to the repository's web address; without it there are no
URLs, and the links stay relative.
"""

import os
import re
from pathlib import Path

from setuptools import setup


def absolute(text: str, repository: str) -> str:
    """Markdown whose pictures and links lead into the repository from anywhere."""
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\g<1>{repository}/raw/HEAD/", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{repository}/blob/HEAD/", text)


if __name__ == "__main__":
    repository = os.environ.get("REPOSITORY", "").rstrip("/")
    readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    files = {"Documentation": "docs/guide.md", "Changelog": "CHANGELOG.md"}
    urls = {name: f"{repository}/blob/HEAD/{path}" for name, path in files.items()}
    urls |= {"Repository": repository, "Issues": f"{repository}/issues"}
    setup(
        long_description=absolute(readme, repository) if repository else readme,
        long_description_content_type="text/markdown",
        project_urls=urls if repository else {},
    )
