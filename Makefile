# Everything here is a thin wrapper: `make setup` builds .venv, the rest calls the package's own commands.
# On a machine without make: python scripts/setup_env.py, then .venv/bin/bonescan run (Windows: .venv\Scripts\bonescan).
.DEFAULT_GOAL := help
.PHONY: help setup study full quick test test-all fuzz coverage mutants lab lint format clean
SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv with the locked packages (instant when nothing changed)
	@for candidate in $(PYTHON) python3 python3.12 python3.11 python3.13 python; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then \
	    exec $$candidate scripts/setup_env.py; fi; \
	  if [ -n "$(PYTHON)" ]; then break; fi; \
	done; \
	echo "No usable Python: need 3.11, 3.12 or 3.13$(if $(PYTHON),; '$(PYTHON)' is not one,; tried python3 python3.12 python3.11 python3.13 python)." >&2; \
	echo "Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1

study: setup ## The study: 1,000 scans, six arms, five notebooks, figures and tables under reports/study
	@$(BIN)/bonescan run --profile study

full: setup ## The study plus the equal-protocol arms, under reports/full
	@$(BIN)/bonescan run --profile full

quick: setup ## A small study in a few minutes, under reports/quick
	@$(BIN)/bonescan run --profile quick

test: setup ## The fast tests
	@$(BIN)/python -m pytest -q -n 2

test-all: setup ## All tests, the slow ones too
	@$(BIN)/python -m pytest -q -n 2 -m "slow or not slow"

coverage: setup ## How much of the package the fast tests run; fails under 90 % (light modules) or 75 % (any)
	@$(BIN)/python -m pytest -q -n 2 --cov --cov-report=json:coverage.json && $(BIN)/python scripts/check_coverage.py coverage.json

mutants: setup ## How many small changes of the metrics and the manifest the tests notice (10 minutes)
	@$(BIN)/python -m pip install -q -e ".[mutation]" && $(BIN)/mutmut run && $(BIN)/mutmut results --all true | $(BIN)/python scripts/check_mutants.py

SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
fuzz: setup ## Look for input that breaks a reader: new damaged files and new examples each time (SEED=n repeats one)
	@echo "SEED=$(SEED)"
	@$(BIN)/python tests/fuzz.py --seed $(SEED)
	@HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest -q -n 2 -m "hypothesis and not slow" --hypothesis-seed=$(SEED)

lab: setup ## JupyterLab in the same environment
	@$(BIN)/jupyter lab notebooks

lint: setup ## ruff and mypy, as the commit hooks run them
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup ## Let ruff format the code and the notebooks
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean: ## Remove caches and .venv; data/ and reports/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants .coverage coverage.json
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
