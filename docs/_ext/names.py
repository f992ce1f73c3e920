"""Names of code that link to their entry, on this site or on that of jax, optax or flax."""

import re

import tbptt_jax

PUBLIC = "|".join(tbptt_jax.__all__)
OTHERS = r"(?:jax|optax|flax)\.[\w.]+"
FENCED = re.compile(r"^(?:```|:::).*?^(?:```|:::)", re.MULTILINE | re.DOTALL)


def in_docstring(line: str) -> str:
    """Names in single backticks as reStructuredText's roles."""
    line = re.sub(r"`[^`]+`(?=\w)", r"\g<0>\\ ", line)  # a role's end must stand apart
    return re.sub(rf"(?<!`)`({OTHERS}|{PUBLIC})`(?!`)", r":py:obj:`\1`", line)


def in_page(text: str) -> str:
    """Names in single backticks as MyST's roles, but for those in code blocks and links."""
    blocks = FENCED.findall(text)
    prose = [_roles(part) for part in FENCED.split(text)]
    return "".join(part for pair in zip(prose, [*blocks, ""], strict=True) for part in pair)


def _roles(text):
    code = lambda names: rf"(?<![`[])`({names})`(?![`\]])"
    text = re.sub(code(OTHERS), r"{py:obj}`\1`", text)
    return re.sub(code(PUBLIC), r"{py:obj}`\1 <tbptt_jax.\1>`", text)
