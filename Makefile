# Two commands for newcomers: `make demo` and `make test`. Both set up what they need in .venv first.

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin
PROJECTS := pyproject.toml device_runtime/pyproject.toml apps/pyproject.toml

.DEFAULT_GOAL := help

.PHONY: help demo test test-slow lint format clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/ready: $(PROJECTS)
	@test -n "$(PYTHON)" || { echo "edgepress needs Python 3.10 to 3.13 with venv (on Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV): TensorFlow and what goes with it, about 900 MB, a minute or two." >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e device_runtime -e apps -e '.[pv-cells,imagenet,speech,test,lint]'
	@touch $@

demo: $(VENV)/ready ## train, shrink, verify, install and measure: a classifier of photos, and a word spotter
	$(BIN)/edgepress demo --out demo-out

test: $(VENV)/ready ## the default tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow'

test-slow: $(VENV)/ready ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/ready ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready ## let ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what was built
	rm -rf $(VENV) build dist demo-out .pytest_cache .mypy_cache .ruff_cache
