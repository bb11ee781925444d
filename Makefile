# Each target first makes a .venv with the package and its dependencies, if it is missing.
PYTHON ?= python3
BIN := .venv/bin
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder  # tests/conftest.py decides the order of the files

.PHONY: setup demo test test-all test-cpus kills disks fuzz audit encoders browser check docs dist bench gpu results study clean
setup: .venv/ready

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'lightly>=1.6'  # its losses need only torch
	touch $@

demo: setup
	$(BIN)/divcon demo

test: setup
	$(BIN)/pytest $(SPREAD) -m "not slow"

test-all: setup
	$(BIN)/pytest $(SPREAD)

# The tests as on other processors: without AVX-512, without vector units, and with kernels for a generic processor.
test-cpus: setup
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest $(SPREAD) -m "not slow"
	ATEN_CPU_CAPABILITY=default $(BIN)/pytest $(SPREAD) -m "not slow"
	NUMBA_CPU_NAME=generic $(BIN)/pytest $(SPREAD) -m "not slow"

kills: setup  # takes a night: 100 kills at random moments, and kills at each place of DIVCON_FAULT; writes logs
	$(BIN)/python tests/kills.py log=kills.log
	$(BIN)/python tests/kills.py kills=0 log=kills-places.log

disks: setup  # needs root, or a system where each user may be root in a user namespace
	$(BIN)/python tests/disks.py

check: setup
	$(BIN)/ruff check divcon tests benchmarks studies examples docs
	$(BIN)/ruff format --check divcon tests benchmarks studies examples docs
	$(BIN)/mypy

docs: setup  # the site, in site/; it can be opened from a disk. Neither this nor `dist` needs a network once there is a .venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: setup  # a wheel and a source distribution, in dist/
	$(BIN)/python -m build --no-isolation --outdir dist

SECONDS ?= 20
fuzz: setup  # each parser for SECONDS, on inputs that libFuzzer makes; findings and corpora are in .fuzz/
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz seconds=$(SECONDS)

audit: setup  # lists what the pipeline opens, starts and connects to, as seen by Python and by the kernel
	$(BIN)/python tests/audited.py
	$(BIN)/python tests/audited.py strace

browser: setup  # opens reports in Chromium and uses them; needs node and npm, and root to install Chromium
	cd tests/browser && npm ci --no-audit --no-fund
	test -x "$${CHROMIUM:-/usr/bin/chromium}" || apt-get install -y --no-install-recommends chromium
	$(BIN)/pytest tests/test_browser.py

encoders: setup  # takes a night: trains one network of each family of timm for a step; draws docs/encoders.md
	$(BIN)/python -m benchmarks.encoders

bench: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

# What only a GPU can show, in under eight minutes, with no internet and no .venv: make gpu OPTIONS="only=environment,float32".
# It begins with the packages that are missing, and how to bring them.
gpu:
	PYTHONPATH=.:$$PYTHONPATH $(PYTHON) -m benchmarks.gpu $(OPTIONS)

# The table of all methods (docs/results/methods.md), in about two hours; an interrupted one goes on.
results: setup
	$(BIN)/python -m benchmarks.results

# The runs of a study that have no row yet: make study NAME=where OPTIONS="jobs=1"; an interrupted one goes on.
study: setup
	$(BIN)/python -m studies $(NAME) $(OPTIONS)

clean:
	rm -rf .venv
