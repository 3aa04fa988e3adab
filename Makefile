# `make run` shows the whole path on one machine; `make test` checks everything. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test unit slow e2e cluster no-cluster testbed lint format install clean

run: $(VENV)/.installed
	$(BIN)/python -m armature.cli.demo

# Where a control plane can be had; CI must have one.
test: unit slow e2e $(if $(or $(CI),$(KUBEBUILDER_ASSETS),$(shell command -v go)),cluster,no-cluster)

# Kubernetes, etcd, KWOK, LeaderWorkerSet and Helm, built from their Go modules: minutes once, then nothing.
testbed: $(VENV)/.installed
	$(BIN)/armature-testbed build

cluster: testbed
	$(BIN)/armature-testbed run --fresh -- $(BIN)/python -m pytest tests/cluster

no-cluster:
	@echo "No Go and no KUBEBUILDER_ASSETS: tests/cluster was left out."

unit: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto -m 'not slow' tests/unit

slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n auto -m slow tests/unit

e2e: $(VENV)/.installed
	$(BIN)/python -m pytest tests/e2e

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml testbed/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Armature needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' --editable testbed
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
