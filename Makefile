# Every target sets up what it needs: a .venv with the package and its dependencies.
PYTHON ?= python3
BIN := .venv/bin
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder  # tests/conftest.py has the order of the files

.PHONY: setup demo test test-all test-cpus kills disks fuzz audit encoders check bench results study clean
setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'lightly>=1.6'  # its losses need torch alone
	touch $@

demo: setup
	$(BIN)/divcon demo

test: setup
	$(BIN)/pytest $(SPREAD) -m "not slow"

test-all: setup
	$(BIN)/pytest $(SPREAD)

# The tests as other processors do them: without AVX-512, without any vectors, and with kernels compiled for no processor in particular.
test-cpus: setup
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest $(SPREAD) -m "not slow"
	ATEN_CPU_CAPABILITY=default $(BIN)/pytest $(SPREAD) -m "not slow"
	NUMBA_CPU_NAME=generic $(BIN)/pytest $(SPREAD) -m "not slow"

kills: setup  # for a night: 100 at random moments, and every place of DIVCON_FAULT at many passings; logs are kept
	$(BIN)/python tests/kills.py log=kills.log
	$(BIN)/python tests/kills.py kills=0 log=kills-places.log

disks: setup  # needs root, or a system where anyone may be root of a name space
	$(BIN)/python tests/disks.py

check: setup
	$(BIN)/ruff check divcon tests benchmarks studies examples
	$(BIN)/ruff format --check divcon tests benchmarks studies examples
	$(BIN)/mypy

SECONDS ?= 20
fuzz: setup  # every parser, SECONDS each, on inputs that libFuzzer thinks of; findings and corpora are in .fuzz/
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz seconds=$(SECONDS)

audit: setup  # what the whole pipeline opens, starts and connects to: as Python sees it, and as the kernel does
	$(BIN)/python tests/audited.py
	$(BIN)/python tests/audited.py strace

encoders: setup  # for a night: one network of every family of timm is trained for a step; draws docs/encoders.md
	$(BIN)/python -m benchmarks.encoders

bench: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

# The table of all methods (docs/results.md), in about two hours; it goes on where it stopped.
results: setup
	$(BIN)/python -m benchmarks.results

# The runs of a study that have no row yet: make study NAME=where OPTIONS="jobs=1"; it goes on where it stopped.
study: setup
	$(BIN)/python -m studies $(NAME) $(OPTIONS)

clean:
	rm -rf .venv
