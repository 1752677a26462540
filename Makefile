# Medtower. `make help` first.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

UV_VERSION := 0.13.8
TORCH := torch==2.13.0
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { command -v "$$p"; break; }; done)
BIN := .venv/bin
UV := $(BIN)/uv
# Base images like to set it, and every process would compile all that it imports again.
unexport PYTHONDONTWRITEBYTECODE
# uv reads UV_FIND_LINKS only; people set PIP_FIND_LINKS. A CPU wheel of torch found there spares several GB of CUDA.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
# Where the tests keep their files: in memory where there is room for them (8 GiB) and programs may be run; a disk would be waited for at each commit.
MEMORY = $(shell findmnt -no OPTIONS /dev/shm | grep -vE 'noexec|nodev' | grep -q rw && \
  [ "$$(df --output=avail -k /dev/shm | tail -1)" -gt 8388608 ] && echo /dev/shm || echo /tmp)
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 \
  nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
  nvidia-nvshmem-cu13 nvidia-nvtx triton torch

.PHONY: help setup demo up down test check format bench bench-release bench-gateway clean lock

help: ## this page
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.done .venv-triton/.done ## install everything into .venv and .venv-triton (no root)

demo: setup ## the whole loop once, on real parts, then leave it running to look at
	@$(BIN)/medtower demo

up: setup ## start the stack without the story
	@$(BIN)/medtower up

down: ## stop every tower started from this folder, leave no process
	@if [ -x $(BIN)/medtower ]; then $(BIN)/medtower down --all; fi

test: setup .venv-checkov/.done ## run the test suite
	@TMPDIR=$${TMPDIR:-$(MEMORY)} $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term tests

check: setup ## format, lint, types, imports, dead code, secrets, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit -q -c pyproject.toml -r plugins dags
	@found=$$($(BIN)/vulture); case $$? in 0|3) ;; *) exit 1 ;; esac; ! grep -E "unused (function|method|class|import)|unreachable" <<<"$$found"
	@git ls-files -z -- ':!*.lock' | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline
	@$(BIN)/medtower schema --check

format: setup ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure the drift engine and the path of one request, and print a table
	@$(BIN)/python benchmarks/run.py

bench-release: setup ## measure promotion, revert and the rollout's errors, on a tower of its own
	@$(BIN)/python benchmarks/release.py

bench-gateway: setup ## measure the gateway beside raw Triton and the servers that others use, then its soak
	@$(BIN)/python -m benchmarks.gateway $(ARGS)

clean: ## remove environments, towers with their data, and caches
	@if [ -x $(BIN)/medtower ]; then $(BIN)/medtower down --all --remove; fi
	rm -rf .venv .venv-triton .venv-checkov .venv-peers-* .medtower .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

lock: .venv/.uv ## resolve the environments again
	$(UV) pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  $(addprefix --no-emit-package ,$(CUDA)) -q -o medtower.lock
	for group in triton checkov; do \
	  $(UV) pip compile --group $$group --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -q -o $$group.lock || exit; done
	for peer in benchmarks/peers/*.in; do \
	  $(UV) pip compile $$peer --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -q -o $${peer%.in}.lock || exit; done

.venv/.uv: Makefile
	@[ -n "$(PYTHON)" ] || { echo "Medtower needs Python 3.11 or 3.12 on PATH (or: make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/pip install -q uv==$(UV_VERSION)
	@touch $@

.venv/.done: .venv/.uv medtower.lock pyproject.toml
	@echo "Installing Medtower into .venv (torch without UV_FIND_LINKS or PIP_FIND_LINKS to a CPU wheel is a CUDA build of several GB)"
	@$(UV) pip install -q --python $(BIN)/python -r medtower.lock $(TORCH)
	@$(UV) pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

.venv-triton/.done: .venv/.uv triton.lock
	@echo "Installing the Triton server into .venv-triton"
	@$(PYTHON) -m venv --clear .venv-triton
	@$(UV) pip install -q --python .venv-triton/bin/python -r triton.lock
	@touch $@

.venv-checkov/.done: .venv/.uv checkov.lock
	@echo "Installing the reader of the rendered manifests into .venv-checkov"
	@$(PYTHON) -m venv --clear .venv-checkov
	@$(UV) pip install -q --python .venv-checkov/bin/python -r checkov.lock
	@touch $@
