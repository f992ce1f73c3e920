# make demo: trains true truncated BPTT on real text, then shows what each style can learn.
# make test: the whole test suite.
# make test-versions: the library's tests on every interpreter found, with the newest jax.
# make examples: every example at its full size, ten minutes.
# make release: wheel and sdist into dist/, checked and tried on every interpreter found.
# make docs: the site, into docs/_build/html; REPOSITORY=https://... links to files of the repository.
# make article: every experiment of the article, then the verdicts and docs/results.md; half a day.
# make bench: the benchmarks; make peers before it adds PyTorch and TensorFlow to them.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-versions check examples docs release article bench peers lock clean

demo: .venv/installed
	$(BIN)/python -m experiments.ptb --style=true --bptt=20 --corpus=embedded --learning_rate=0.003 --num_epochs=20
	$(BIN)/python -m experiments.reach

test: .venv/installed
	$(BIN)/python -m pytest -q -n auto --dist worksteal

# VERSIONS=newest: the newest interpreter alone.
test-versions:
	tests/versions.sh $(VERSIONS)

# Linters, types and the examples in docstrings.
check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q --doctest-modules tbptt_jax

examples: .venv/installed
	for example in examples/*.py; do echo "== $$example"; $(BIN)/python $$example || exit 1; done

docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

release: .venv/installed
	tests/release.sh

article: .venv/installed
	$(BIN)/python -m experiments.diagram --out=results
	$(BIN)/python -m experiments.gradcheck --corpus=ptb --out=results
	$(BIN)/python -m experiments.vanishing --corpus=ptb --out=results
	$(BIN)/python -m experiments.timing --corpus=ptb --out=results
	$(BIN)/python -m experiments.table --corpus=ptb --out=results
	$(BIN)/python -m experiments.compare --out=results
	$(BIN)/python -m experiments.page --page=docs/results.md

bench: .venv/installed
	$(BIN)/python -m benchmarks.step_time --out=benchmarks/results
	$(BIN)/python -m benchmarks.training_step --out=benchmarks/results
	$(BIN)/python -m benchmarks.recurrence --out=benchmarks/results
	$(BIN)/python -m benchmarks.elementwise --out=benchmarks/results
	$(BIN)/python -m benchmarks.devices --out=benchmarks/results
	$(BIN)/python -m benchmarks.devices_page --results=benchmarks/results --out=docs
	$(BIN)/python -m benchmarks.cells --out=benchmarks/results
	$(BIN)/python -m benchmarks.long --out=benchmarks/results
	$(BIN)/python -m benchmarks.tol --corpus=ptb --out=benchmarks/results

peers: .venv-peers/installed

lock: .venv/installed
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .venv-peers .venv-versions docs/_build

.venv/installed: pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv-peers/installed: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -q -r $<
	touch $@
