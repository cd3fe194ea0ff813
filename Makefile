# One virtual environment, .venv in this folder, serves every target. Each target does its own set-up.
SHELL := /bin/bash
.DELETE_ON_ERROR:
export PYTHONSAFEPATH = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTHON ?= python3
BIN := .venv/bin
TURNOUT := $(BIN)/turnout
STAMP := .venv/.complete
# Two processes; the tests of a file share one, and with it the models that they load.
SIDE_BY_SIDE := -n 2 --dist loadfile

.PHONY: help setup models demo test test-slow lint types check docs wheel-check clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[all,dev]'
	touch $@

setup: $(STAMP) ## make .venv with everything that development needs

models: $(STAMP) ## get the default generator and embedder (about 180 MB, once)
	$(TURNOUT) models pull

demo: models ## ask three questions over this project's own documents
	$(TURNOUT) demo

test: models ## run the tests that finish within minutes
	$(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE)

test-slow: models ## run the long tests too
	$(BIN)/pytest

lint: $(STAMP) ## format and lint check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## strict type check
	$(BIN)/mypy

check: lint types test ## everything that a change must pass

docs: $(STAMP) ## write the generated pages of docs/
	$(BIN)/python -m turnout.cli.reference docs/cli.md

wheel-check: $(STAMP) ## build the wheel and compare its modules with the source tree
	$(BIN)/pytest -m "slow or not slow" tests/packaging -q

clean: ## remove what was built, not the data directory
	rm -rf .venv build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
