# `make demo` and `make test` need git, make and Python; both are quick the second time.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: help demo test outlive chaos chaos-long audit lint clean

help:
	@echo "make demo    train a small GPT on Python's own source, in the cockpit"
	@echo "make test    run the tests"
	@echo "make outlive lose a run's terminal, line and screens in every way, in each of its phases: minutes"
	@echo "make chaos   kill it, crash its disk, make its disk refuse: minutes; make chaos-long: 20 times as much"
	@echo "make audit   ask PyPI for known vulnerabilities of what is installed; list its licences"
	@echo "make lint    run the linters and the type checker"
	@echo "make clean   remove .venv and caches; runs/ stays"

# Without a terminal (a pipe, a CI log) there is nothing to draw on.
demo: .venv/.installed
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/gpt-cockpit profiles/demo.toml; \
	else exec $(BIN)/gpt-cockpit profiles/demo.toml --headless; fi

# Three workers with one thread each, for two cores: those that try the program in a terminal mostly wait for it. More
# threads gain little for small models, and those of two processes on the same cores wait for each other. `make test
# PYTEST=...` passes options on.
test: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 $(PYTEST)

# Each way to lose a terminal, an SSH line or a screen, in each phase of a run; `make test` tries a selection.
outlive: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow or not slow" tests/terminal/test_losses.py $(PYTEST)

# What a kill, a power failure and a bad disk can do to a run: each gate's count, time and result in a table.
# `make chaos CHAOS='--gate 1 --seed 7 --json'` passes options on.
chaos: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos $(CHAOS)

chaos-long: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos --long $(CHAOS)

# Needs the network, so it is no part of CI; the licences alone are gate 8c. A package that PyPI does not know is an error.
audit: .venv/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.chaos --gate 8c
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --disable-pip-version-check --quiet pip-audit
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info build dist
	find gpt cockpit tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "gpt-cockpit needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	"Name another one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.made pyproject.toml constraints.txt
	@echo "installing into .venv; torch is large, the first time takes minutes"
	$(PIP) -e .
	@touch $@

.venv/.installed-dev: .venv/.made pyproject.toml constraints.txt
	@echo "installing into .venv; torch is large, the first time takes minutes"
	$(PIP) -e '.[dev]'
	@touch $@ .venv/.installed
