# Each target does its own set-up in a private .venv; python3 (3.11 or newer) with pip is all it needs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo shop test lint types programs simulate crash durable mutants bench footprint baseline handler clean

help:  ## list what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(STAMP)  ## make .venv with everything in it

demo: $(STAMP)  ## replay a made-up shop day against the emulator
	$(BIN)/alhena demo $(ARGS)

shop: $(STAMP)  ## a small shop to click in, and what Alhena would record of it
	@$(BIN)/python -m examples.shop $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(STAMP)
	$(BIN)/mypy

# Some tests need a Chromium or a Redis; where we may, install Debian's, otherwise they are skipped with the reason.
programs:
	@sh tests/install-programs.sh

test: $(STAMP) lint types programs  ## ruff, mypy, import contracts and every test
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

SEEDS ?= 1-1000
EVENTS ?= 1000
FAULTS ?= 0.08
JOBS ?= 2
RESULTS ?=

simulate: $(STAMP)  ## lives of the client on virtual time; SEEDS=7 sees one again
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --events $(EVENTS) --faults $(FAULTS) --jobs $(JOBS) \
		$(if $(RESULTS),--results $(RESULTS))

KILLS ?= 1000
SEED ?= 1

crash: $(STAMP)  ## kill real processes at random moments; KILLS=1000 SEED=1
	$(BIN)/python -m tests.crash.run --kills $(KILLS) --seed $(SEED) --jobs $(JOBS)

durable: $(STAMP)  ## what durability costs
	$(BIN)/python benchmarks/durable.py $(ARGS)

mutants: $(STAMP)  ## break each rule of the engine, and see the suite notice
	$(BIN)/python -m tests.mutants.run --report docs/internals/mutants.md $(ARGS)

BENCH := .venv/.installed-bench

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(BENCH)  ## measure all that is claimed; ONLY="delivery stall" measures some of it
	$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

footprint: $(BENCH)  ## what a waiting event costs, beside the peers
	$(BIN)/python -m benchmarks enqueue memory scale $(ARGS)

baseline: $(STAMP)  ## count the hot paths' operations anew, for this Python's minor version
	$(BIN)/python -m benchmarks.operations --write

handler: $(STAMP)  ## what tracking adds to a request of a FastAPI shop
	$(BIN)/python benchmarks/handler.py $(ARGS)

clean:  ## remove .venv and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
