#!/usr/bin/env bash
# The library's tests with the newest jax and frameworks, on every interpreter found.
#
#   tests/versions.sh           Python 3.11 to 3.14, those on PATH or of pyenv
#   tests/versions.sh newest    the newest of them alone
#
# Each has a virtual environment in .venv-versions, kept until pyproject.toml changes. A framework
# that cannot be installed beside that jax is left out, and the tests that need it are skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
unset REQUIRE_ALL

source tests/interpreters.sh

# Makes the environment $2 for the interpreter $1.
install() {
  local python=$2/bin/python jax framework frameworks
  rm -rf "$2"
  "$1" -m venv "$2" && "$python" -m pip install -q -e '.[test]' || return
  jax=$("$python" -c 'import jax; print(jax.__version__)')
  mapfile -t frameworks < <("$python" -c 'import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["optional-dependencies"]["frameworks"], sep="\n")')
  for framework in "${frameworks[@]}"; do
    "$python" -m pip install -q "$framework" "jax==$jax" || echo "left out: $framework"
  done
  touch "$2/installed"
}

[ "${1:-}" = newest ] && minors=("${minors[-1]}")

failed=0
table=$(printf '%-8s %-10s %s' python jax "tests of the library")
for minor in "${minors[@]}"; do
  echo "== Python 3.$minor"
  venv=.venv-versions/3.$minor
  python=$venv/bin/python
  if ! [ "$venv/installed" -nt pyproject.toml ] && ! install "$(interpreter "$minor")" "$venv"; then
    failed=1
    table+=$'\n'"3.$minor     cannot be installed"
    continue
  fi
  "$python" -m pytest -q -n auto --dist worksteal tests/library 2>&1 | tee "$venv/tests.log" || failed=1
  table+=$'\n'$("$python" -c 'import platform, jax
print(f"{platform.python_version():8} {jax.__version__:10}", end=" ")')$(tail -n 1 "$venv/tests.log")
done
printf '\n%s\n' "$table"
exit $failed
