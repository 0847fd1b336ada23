PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-demo
VISION := .venv-vision
VISION_STAMP := $(VISION)/.installed

.PHONY: help install demo test test-long test-vision test-versions lint format docs benchmark clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv and install the project with pinned versions

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

$(DEMO_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

demo: $(or $(wildcard $(STAMP)),$(DEMO_STAMP)) ## three acts, under three minutes: skip visits, find wrong labels, fit an image; in runs/demo
	$(BIN)/dynaprune demo

test: $(STAMP) ## unit tests, under five minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m 'not long'

test-long: $(STAMP) test-vision ## what takes longer than a unit test may
	$(BIN)/python -m pytest -m long --timeout 1200

# torchvision has an environment of its own, so `make test` does without it: beside the build of
# torch for CPUs it can only be imported with the operators that these tests declare, and
# Transformers imports it wherever it is installed
$(VISION_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VISION)
	$(VISION)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[vision-tests]'
	@touch $@

test-vision: $(VISION_STAMP) ## tests with timm and Ultralytics, in .venv-vision
	OMP_NUM_THREADS=1 $(VISION)/bin/python -m pytest tests/vision

CORE_TESTS := $(addprefix tests/,data loading losses methods planning scores training utils)

test-versions: test-python-3.10 test-python-3.12 test-python-3.13 ## tests of the core from the wheel, with the oldest and the newest torch: downloads gigabytes

# the oldest torch and NumPy that pyproject.toml claims. This torch warns of its own SequentialLR,
# detaches twice, and cannot compile what reads the arguments of a partial
test-python-3.10: VERSIONS = $(shell sed -n 's/^dependencies = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',' | sed 's/>=/==/g')
test-python-3.10: OPTIONS = -W 'ignore:The epoch parameter:UserWarning' \
	--deselect tests/losses/test_losses.py::test_update_reads_no_loss_and_moves_nothing \
	--deselect 'tests/losses/test_unreduced_calls.py::test_compiled_as_one_graph[partial]'
# torch warns so with Python 3.13.0
test-python-3.13: OPTIONS = -W 'ignore:Guards may run slower:RuntimeWarning'

test-python-%:
	PYENV_VERSION=$* python$* -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet '.[all]' $(VERSIONS) \
		datasets hypothesis pytest pytest-timeout torchdata webdataset
	OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -m 'not long' $(OPTIONS) $(CORE_TESTS)
	rm -rf .venv-$*

lint: $(STAMP) ## ruff (lint and format), mypy --strict, and that imports point down
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src/dynaprune benchmarks/zoo
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## the documentation as a site, in site/
	$(BIN)/zensical build --strict

benchmark: $(STAMP) ## what a step and a plan cost, beside textbook code
	$(BIN)/python benchmarks/performance/overhead.py

clean: ## remove .venv and caches
	rm -rf $(VENV) $(VISION) .mypy_cache .pytest_cache .ruff_cache .hypothesis
