# Two commands for a fresh machine: `make run` and `make test`. Both create .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
TEST_ARGS = $(if $(ARGS),$(ARGS),-m "not full")
TESTS ?= tests
TORCH ?=
# pyenv has shims for versions that are not selected, so check that a candidate runs
NEWEST ?= $(shell for p in python3.12 $(HOME)/.pyenv/versions/3.12*/bin/python3.12; do \
  $$p --version >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: run test bench lint accelerators clean

run: $(VENV)/.train
	$(BIN)/python -m experiments run char_lm $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS) $(TEST_ARGS)

# PyTorch is installed only on request, in a given version: make bench TORCH=torch==2.13.0
bench: $(VENV)/.bench
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(TORCH))
	$(BIN)/python -m benchmarks run --suite quick --report $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Compiles for TPUs and GPUs without one, and checks the programs: two processes at a time.
# BRIEF=--brief leaves out what takes long and shows the least
accelerators: $(VENV)/.train
	rm -rf build/accelerators
	+$(MAKE) -j2 -f benchmarks/accelerators/parts.mk NEWEST="$(NEWEST)" PYTHON="$(PYTHON)" BRIEF=$(BRIEF) \
	  KERNELS="$$($(BIN)/python -c 'from jaxrnn.kernels import _native; print(_native._file())')"
	$(BIN)/python -m benchmarks.accelerators report $(ARGS)

# Empty files record what is installed, so that a second call starts immediately.
$(VENV)/.train: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[train,experiments,dev]'
	touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.train
	$(BIN)/python -m pip install --quiet --editable '.[train,bench]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .venv-tpu .venv-tpu-newest .venv-gpu build dist
