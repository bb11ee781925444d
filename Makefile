# Every target sets up what it needs: a .venv with the package and its dependencies.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-all check bench results clean
setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'lightly>=1.6'  # its losses need torch alone
	touch $@

demo: setup
	$(BIN)/divcon demo

test: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-all: setup
	$(BIN)/pytest -n 2 --dist loadfile

check: setup
	$(BIN)/ruff check divcon tests benchmarks examples
	$(BIN)/ruff format --check divcon tests benchmarks examples
	$(BIN)/mypy

bench: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

# The table of all methods (docs/results.md), in about two hours; it goes on where it stopped.
results: setup
	$(BIN)/python -m benchmarks.results

clean:
	rm -rf .venv
