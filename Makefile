# `make demo` and `make test` set up what they need; see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/demo-ready
TEST_READY := $(VENV)/test-ready

.PHONY: help demo test lint types tools clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(DEMO_READY) ## Train, generate, let the C learn by itself and on a simulated Uno, compare
	@tests/install_tools.sh demo
	@$(BIN)/python -m examples.demo

test: tools $(TEST_READY) lint types ## Install what the tests need and run them all
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

lint: $(TEST_READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: $(TEST_READY)
	@$(BIN)/mypy --no-error-summary

tools:
	@tests/install_tools.sh

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "bpgen needs Python 3.10 or later: make PYTHON=python3.10 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment: sudo apt-get install python3-venv" >&2; exit 2; }

$(DEMO_READY): pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plots]'
	@touch $@

$(TEST_READY): pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(DEMO_READY)
