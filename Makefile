# Each target does its own set-up in a private .venv; python3 (3.11 or newer) with pip is all it needs.
PYTHON ?= python3
VENV := .venv
EXTRA := dev
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AXE := build/axe/package/axe.min.js

# Tests start hundreds of processes: each would compile the whole package anew where the environment forbids bytecode.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: fuzz build docs site a11y test-wheel help install hooks demo shop test test-long suite coverage test-loaded test-oldest test-newest test-pythons lint types programs simulate simulate-relay outage crash fleet hosts letters damage bodies openapi durable outbox outbox-plan mutants bench profile footprint baseline handler clean

help:  ## list what there is
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRA)]'
	@touch $@

install: $(STAMP)  ## make .venv with everything in it

hooks: $(STAMP)  ## have git check style and types before each commit
	$(BIN)/pre-commit install

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

# One more than there are cores: tests wait for processes and disks. Many hold beside a load of ten.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null) && echo $$((n + 1)) || echo auto)
PYTEST := -m pytest -n $(WORKERS) --dist worksteal

# What takes minutes by itself, and is not for every push.
LONG := tests/crash tests/damage

test: $(STAMP) lint types programs docs $(AXE)  ## ruff, mypy, import contracts, the site, every test but the long ones
	$(BIN)/python $(PYTEST) $(LONG:%=--ignore=%) $(ARGS)

test-long: $(STAMP) programs  ## processes that are killed at random and at every line of an order, directories damaged bit by bit
	$(BIN)/python $(PYTEST) $(LONG) $(ARGS)

# Per cent of lines and branches, child processes included. What is measured may not fall: raise these with it.
# Before Python 3.12 it more than doubles the time of all that it measures, so it is no part of `test`.
CORE_FLOOR := 98.3
JOURNAL_FLOOR := 95.5

coverage: $(STAMP) programs  ## every test again, and what of the package it reaches; below the floors it fails
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(CORE_FLOOR) \
		--include='alhena_async/*.py,alhena_async/_queue/*,alhena_async/_delivery/*,alhena_async/_http/*'
	$(BIN)/coverage report --fail-under=$(JOURNAL_FLOOR) --include='alhena_async/journal/*'

suite: $(STAMP) programs
	$(if $(VERSIONS),$(BIN)/python -m tests.versions $(VERSIONS))
	$(BIN)/python $(PYTEST) $(ARGS)

JOURNAL_TESTS := tests/unit/journal tests/unit/test_client_journal.py tests/unit/test_client_spill.py \
	tests/unit/cli/test_letter_claims.py tests/integration/test_journal_client.py tests/integration/test_cli_letters.py

test-oldest:  ## every test with the oldest dependencies that are declared, the journal's on old SQLites too
	$(MAKE) VENV=.venv-oldest EXTRA=test VERSIONS=oldest suite
	sh tests/old-sqlites.sh $(CURDIR)/.venv-oldest/sqlite .venv-oldest/bin/python | while read -r version library; do \
		echo "the journal with SQLite $$version"; \
		LD_PRELOAD=$$library .venv-oldest/bin/python $(PYTEST) $(JOURNAL_TESTS) </dev/null || exit 1; done

test-newest:  ## every test with the newest dependencies that are allowed
	$(MAKE) VENV=.venv-newest EXTRA=test VERSIONS=newest suite

test-pythons:  ## every test on each Python from 3.11 that is there
	sh tests/pythons.sh | while read -r version python; do \
		$(MAKE) VENV=.venv-$$version EXTRA=test PYTHON=$$python suite </dev/null || exit 1; done

docs:  ## the site into build/site, to be opened from the disk too; a warning fails it
	$(MAKE) VENV=.venv-docs EXTRA=docs site

site: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(ARGS)

# It is in npm's registry alone; without npm the tests that need it are skipped.
$(AXE):
	mkdir -p build/axe && cd build/axe && npm pack --silent axe-core@4 && tar -xzf axe-core-*.tgz || true

a11y: $(STAMP) programs docs $(AXE)  ## links of the built site, and axe-core over it, the emulator's page and the shop
	$(BIN)/python $(PYTEST) tests/site $(ARGS)

build: $(STAMP)  ## sdist and wheel into dist/; two builds of one commit are equal
	rm -rf dist
	$(BIN)/python -c "from hatchling.build import build_sdist, build_wheel; build_sdist('dist'); build_wheel('dist')"

test-wheel: build programs  ## every test against the built wheel, in an environment and a folder that have nothing else
	sh tests/wheel.sh $(PYTHON) $(CURDIR)/.venv-wheel
	cd .venv-wheel/tree && ../bin/python $(PYTEST) $(LONG:%=--ignore=%) --ignore=tests/integration/test_wheel.py \
		--ignore=tests/integration/test_types.py $(ARGS)

BUSY ?= 8
RUNS ?= 1

test-loaded: $(STAMP) programs  ## every test beside BUSY=8 busy processes, RUNS=3 in a row
	$(BIN)/python -m tests.loaded --busy $(BUSY) --runs $(RUNS) -- $(ARGS)

SEEDS ?= 1-1000
EVENTS ?= 1000
FAULTS ?= 0.08
JOBS ?= 2
RESULTS ?=

simulate: $(STAMP)  ## lives of the client on virtual time; SEEDS=7 sees one again
	$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --events $(EVENTS) --faults $(FAULTS) --jobs $(JOBS) \
		$(if $(RESULTS),--results $(RESULTS))

simulate-relay: $(STAMP)  ## lives of publishers and relays over a broker; SEEDS=7 sees one again
	$(BIN)/python -m tests.simulation.relay.run --seeds $(SEEDS) --faults $(FAULTS) --jobs $(JOBS) \
		$(if $(filter file,$(origin EVENTS)),,--events $(EVENTS))

outage: $(STAMP)  ## ten hours without the API on virtual time; ARGS="--hours 1 --capacity 100"
	$(BIN)/python -m tests.simulation.outage $(ARGS)

KILLS ?= 1000
SEED ?= 1

crash: $(STAMP)  ## kill real processes at random moments; KILLS=1000 SEED=1
	$(BIN)/python -m tests.crash.run --kills $(KILLS) --seed $(SEED) --jobs $(JOBS)

fleet: $(STAMP)  ## kill a fleet's workers and broker under load; KILLS=60 SEED=1 ARGS="--nodes 3 --sync always"
	$(BIN)/python -m tests.fleet.run $(if $(filter file,$(origin KILLS)),,--kills $(KILLS)) --seed $(SEED) $(ARGS)

DIRECTORIES ?= 10000

damage: $(STAMP)  ## damage directories in every bit that decides, and at random; DIRECTORIES=10000 SEED=1
	$(BIN)/python -m tests.damage.run --directories $(DIRECTORIES) --seed $(SEED) --jobs $(JOBS)

letters: $(STAMP)  ## kill the replay of dead letters at random moments; KILLS=100 SEED=1
	$(BIN)/python -m tests.crash.letters $(if $(filter file,$(origin KILLS)),,--kills $(KILLS)) --seed $(SEED)

outbox: $(STAMP) programs  ## kill shops between BEGIN and answer, with each driver; KILLS=10000 SEED=1
	$(BIN)/python -m tests.crash.outbox --kills $(KILLS) --seed $(SEED)
	$(BIN)/python -m tests.crash.outbox --cuts --kills $(KILLS) --seed $(SEED)

STOPS ?= 20

hosts: $(STAMP) programs  ## stop every host under load, and write down in docs/hosts.md what was lost; STOPS=20
	$(BIN)/python -m tests.hosts.run --stops $(STOPS) $(ARGS)

ROWS ?= 1000000

outbox-plan: $(STAMP) programs  ## see that relays find the next event by an index; ROWS=1000000
	$(BIN)/python -m tests.outbox_plan --rows $(ROWS)

BODIES ?= 1000000

bodies: $(STAMP)  ## send the emulator BODIES=1000000 bodies in which something is broken
	$(BIN)/python -m tests.properties.emulator_bodies --bodies $(BODIES) --seed $(SEED)

CASES ?= 100000

openapi: $(STAMP)  ## hold the emulator to its OpenAPI document: CASES=100000 requests made from it
	$(BIN)/python -m tests.openapi.run --cases $(CASES) --seed $(SEED) --jobs $(JOBS)

INPUTS ?= 1000000

fuzz: $(STAMP)  ## feed each reader of foreign bytes INPUTS=1000000 inputs, below atheris where that can be had; ARGS=replies
	-$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz.run --inputs $(INPUTS) --seed $(SEED) $(ARGS)

durable: $(STAMP)  ## what durability costs
	$(BIN)/python benchmarks/durable.py $(ARGS)

mutants: $(STAMP)  ## break each rule of the engine, and see the suite notice
	$(BIN)/python -m tests.mutants.run --report docs/internals/mutants.md $(ARGS)

BENCH := $(VENV)/.installed-bench

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(BENCH)  ## measure all that is claimed; ONLY="delivery stall" measures some of it
	$(BIN)/python -m benchmarks $(ONLY) $(ARGS)

profile: $(BENCH)  ## flame graphs of accepting, delivering (plain, TLS) and the journal; ONLY="accept tls"
	$(BIN)/python -m benchmarks.flames $(ONLY) $(ARGS)

footprint: $(BENCH)  ## what a waiting event costs, beside the peers
	$(BIN)/python -m benchmarks enqueue memory scale $(ARGS)

baseline: $(STAMP)  ## count the hot paths' operations anew, for this Python's minor version
	$(BIN)/python -m benchmarks.operations --write

handler: $(STAMP)  ## what tracking adds to a request of a FastAPI shop, and an observer to tracking
	$(BIN)/python benchmarks/handler.py $(ARGS)
	$(BIN)/python -m benchmarks.observed

clean:  ## remove .venv and every cache
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
