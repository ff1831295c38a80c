# MineGNK's data side. `make` lists the targets; `make run` and `make test` set up all they need.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# In the site as they stand here, so that their links hold in both places.
DOCUMENTS := $(wildcard *.md) docs migrations/README.md contract deploy examples

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Start here

.PHONY: run test setup
run: $(READY) ## Run all of it on this machine (ONCE=1: prove it and end; LIVE=1: the public trackers)
	@$(BIN)/minegnk run $(if $(ONCE),--once) $(if $(LIVE),--live)

test: lint types contracts $(READY) ## Lint, types, layers and every test, on a PostgreSQL and Kafka of its own
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

setup: $(READY) ## The virtual environment with every locked package, and the minegnk command

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11, then run make again."; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "Python's venv module is needed: install it (Debian: apt install python3-venv), then run make again."; exit 1; }
	@echo "Installing packages into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

##@ Checks

.PHONY: lint types contracts format unit integration e2e-compose property chaos fuzz contract-api soak year mutants
lint: $(READY) ## Style (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Run make format."; exit 1; }

types: $(READY) ## Types (mypy strict)
	@$(BIN)/mypy

contracts: $(READY) ## Layers (import-linter)
	@$(BIN)/lint-imports | tail -n 12

format: $(READY) ## Bring the code into the project's format
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix .

unit: $(READY) ## Tests that start nothing
	@$(BIN)/pytest tests/unit $(ARGS)

integration: $(READY) ## Tests on a real PostgreSQL and Kafka
	@$(BIN)/pytest tests/integration tests/schema $(ARGS)

e2e-compose: $(READY) ## The compose file for real, in containers
	@MINEGNK_E2E=1 $(BIN)/pytest -rP -m compose tests/e2e $(ARGS)

##@ Longer checks (a short form of each is part of make test)

property: $(READY) ## Any order, repetition and crash of generated events, for minutes (tests/property)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/pytest tests/property $(ARGS)

chaos: $(READY) ## Real workers under 20 schedules of faults, every event accounted for (SEED=n: one of them again)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED) --schedules 1) $(ARGS)

fuzz: $(READY) ## A million mutated messages through the decoders, 100,000 through workers
	@$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(ARGS)

contract-api: $(READY) ## 5,000 requests that the OpenAPI document allows or forbids, against a real API (schemathesis)
	@$(BIN)/python -m tests.api.contract $(if $(SEED),--seed $(SEED)) $(ARGS)

soak: $(READY) ## 5,000 events a second for 20 minutes: does anything grow?
	@$(BIN)/python -m tests.soak $(ARGS)

year: $(READY) ## A simulated year of 1,000 hosts through the real path, exact to the ngonka
	@$(BIN)/python -m tests.year $(ARGS)

mutants: $(READY) ## Break each guarantee on purpose, and see the test that turns red
	@$(BIN)/python -m tests.mutations $(ARGS)

##@ Speed

.PHONY: bench bench-quick bench-peers bench-reading bench-pushing
bench: $(READY) ## From events to rows, beside the machine's limits in the same run; writes bench/results/
	@$(BIN)/python -m bench $(ARGS)

bench-quick: $(READY) ## A tenth of it: does every part work?
	@$(BIN)/python -m bench --quick $(ARGS)

bench-peers: $(READY) .venv-peers/.ready ## The same loads also by what one would pick instead (bench/peers)
	@$(BIN)/python -m bench --peers all --only nodes-1k,nodes-100k $(ARGS)

.venv-peers/.ready: requirements/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.txt
	@touch $@

bench-reading: $(READY) ## The API under load at 1,000 nodes and a year, beside a call to a tracker for each request (needs vegeta, wrk)
	@$(BIN)/python -m bench.reading $(ARGS)

bench-pushing: $(READY) ## The push API under load: 50 producers, batches of readings (needs vegeta, wrk)
	@$(BIN)/python -m bench.pushing $(ARGS)

##@ Schema (DB_HOST, DB_PORT, DB_USERNAME, DB_PASSWORD, DB_DATABASE)

.PHONY: migrate rollback rollback-all migrations migration topics
migrate: $(READY) ## Bring the schema up to date
	@$(BIN)/minegnk migrate

rollback: $(READY) ## Revert the last migration
	@$(BIN)/minegnk rollback

rollback-all: $(READY) ## Revert all of them
	@$(BIN)/minegnk rollback --all

migrations: $(READY) ## List them: [X] applied, [ ] not
	@$(BIN)/minegnk migrations

migration: $(READY) ## Generate the next pair of files (NAME=what-it-does)
	@$(BIN)/minegnk migration "$(NAME)"

topics: $(READY) ## Make Kafka's topics (MINEGNK_KAFKA_BOOTSTRAP_SERVERS)
	@$(BIN)/minegnk topics

##@ Containers (docker compose, with the settings of .env)

.PHONY: up down logs scale restart
up: .env ## Build it, start all of it, and wait until it is healthy
	@docker compose up --detach --build --wait

down: .env ## Stop it and remove the containers; the data stays
	@docker compose --profile "*" down

logs: .env ## Follow the logs (SERVICE=cache: of one service)
	@docker compose logs --follow --tail 50 $(SERVICE)

SCALED := $(strip $(INGEST:%=ingest=%) $(CACHE:%=cache=%) $(EARNINGS:%=earnings=%))
scale: .env ## So many workers until the next `make up` (CACHE=3 INGEST=2 EARNINGS=2)
	@[ -n "$(SCALED)" ] || { echo "Say how many: make scale CACHE=3 INGEST=2 EARNINGS=2" >&2; exit 1; }
	@docker compose up --detach --wait --no-deps --no-recreate $(SCALED:%=--scale %) $(foreach each,$(SCALED),$(firstword $(subst =, ,$(each))))

restart: .env ## One container after the other, each healthy before the next (SERVICE=cache: of one service)
	@deploy/rolling-restart $(SERVICE)

.env:
	@echo "Run cp .env.example .env first." >&2; exit 1

##@ Upkeep

.PHONY: docs references contract metrics audit requirements clean
docs: .venv-docs/.ready ## The documentation as a site in site/, built offline; a dead link ends it
	@rm -rf .docs && mkdir .docs && tar -cf - $(DOCUMENTS) | tar -xf - -C .docs
	@.venv-docs/bin/zensical build --strict --clean
	@echo "Read it with: $(PYTHON) -m http.server --bind 127.0.0.1 --directory site 8001"

.venv-docs/.ready: requirements/docs.txt
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/docs.txt
	@touch $@

references: $(READY) ## Write the references of the settings and the schema anew (docs/configuration.md, docs/schema.md)
	@$(BIN)/minegnk settings --markdown > docs/configuration.md
	@$(BIN)/python -m tests.schema.reference > docs/schema.md

contract: $(READY) ## Write the contract of the events anew (contract/, docs/events.md)
	@$(BIN)/minegnk contract

metrics: $(READY) ## Write the reference of the metrics anew (docs/metrics.md)
	@$(BIN)/minegnk metrics

audit: .venv-audit/.ready ## Known vulnerabilities of the locked packages (exit code 3: nobody could be asked)
	@.ci/audit $(ARGS)

.venv-audit/.ready: requirements/audit.txt
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

requirements: $(READY) ## Lock the newest allowed versions, with hashes
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--extra dev pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml requirements/peers.in -o requirements/peers.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		requirements/docs.in -o requirements/docs.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		requirements/audit.in -o requirements/audit.txt

clean: ## Remove the virtual environment, caches and the data of make run
	@rm -rf $(VENV) .venv-peers .venv-docs .venv-audit .docs site .minegnk .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
