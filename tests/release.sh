#!/usr/bin/env bash
# Builds wheel and sdist into dist/, checks them, and runs README's example with each of them
# installed alone, on every interpreter found.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/interpreters.sh

rm -rf dist
.venv/bin/python -m build -q --no-isolation -o dist .
.venv/bin/twine check --strict dist/*

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sed -n '/^```python$/,/^```$/p' README.md | sed '/^```/d' >"$scratch/example.py"
for minor in "${minors[@]}"; do
  for release in "$PWD"/dist/*; do
    venv=$scratch/venv
    rm -rf "$venv"
    "$(interpreter "$minor")" -m venv "$venv"
    "$venv/bin/python" -m pip install -q "$release"
    printf '%s, Python 3.%s: ' "$(basename "$release")" "$minor"
    (cd "$scratch" && "$venv/bin/python" example.py) | paste -sd ';'
  done
done
