# To be sourced: `minors`, the supported Python 3.$minor that are found, on PATH or of pyenv.

# The newest patch of the interpreter 3.$1, or nothing. A shim of pyenv may name one that is not active.
interpreter() {
  local candidate
  for candidate in "$(command -v "python3.$1")" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"3.$1".*/bin/python; do
    "$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3], sys.executable)' 2>/dev/null
  done | sort -V | tail -n 1 | cut -d ' ' -f 2
}

minors=()
for minor in 11 12 13 14; do
  [ -n "$(interpreter $minor)" ] && minors+=("$minor")
done
if [ ${#minors[@]} -eq 0 ]; then
  echo "No Python 3.11 or later on PATH or of pyenv." >&2
  exit 1
fi
