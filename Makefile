# Every target makes its own virtual environment when it is missing or pyproject.toml changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test bench lint profiles studies docs

run: .venv/installed
	$(BIN)/servesim run experiments/quickstart/scenario.yaml \
	  --router round-robin --router vllm --router lmetric --out out/quickstart

test: .venv/installed
	$(BIN)/python -m pytest -n 2

bench: .venv/installed
	$(BIN)/python benchmarks/bench.py

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The folder of measured tables that the shipped calibrations are fitted to: see docs/profiles.md.
KERNELS ?= ../shared/data/kernels

profiles: .venv/installed
	$(BIN)/servesim profile refit $(KERNELS)

# The tutorial's lessons and every study with a __main__.py, one after the other.
LESSONS := $(basename $(wildcard docs/tutorial/lesson_*.py))
STUDIES := $(patsubst %/__main__.py,%,$(wildcard experiments/*/__main__.py))

studies: .venv/installed
	@failed=; for module in $(subst /,.,$(LESSONS) $(STUDIES)); do \
	  begun=$$(date +%s); \
	  $(BIN)/python -m $$module || failed="$$failed $$module"; \
	  echo "$$module: $$(($$(date +%s) - begun)) s"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

# NO_MKDOCS_2_WARNING leaves out a notice that Material for MkDocs prints about its own end of support (May 2027).
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@
