# Each of these, alone, on a machine with Python 3.11+ and make, sets up everything it needs.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check clean

demo: .venv/demo.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" sh experiments/sample/demo.sh demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.venv/demo.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(BIN)/python -m pip install --quiet --editable '.[demo,dev]'
	@touch $@

clean:
	rm -rf .venv demo
