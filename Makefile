# `make help` lists the targets. Everything leans on `setup`, which makes .venv.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: constraints help setup setup-demo setup-test demo test soak lint layout probe format generate clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m demo.packages setup
	@$(PYTHON) -m venv $(VENV)
	@echo "installing Python packages into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup-demo: setup
	@$(PYTHON) -m demo.packages demo

setup-test: setup
	@$(PYTHON) -m demo.packages test

demo: setup-demo ## The whole loop on real parts: a burst, the fleet grows, videos, the fleet shrinks
	@$(BIN)/python -m demo $(if $(KEEP),--keep)

test: setup-test ## Everything: unit, integration, e2e, and a real Swarm on a private engine
	@$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder $(ARGS)

soak: setup-demo ## 10,000 jobs under every fault at once, on both types of queue: [JOBS=] [SEED=] [QUEUES=]
	@$(BIN)/python -m tests.soak $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) $(if $(QUEUES),--queues $(QUEUES))

lint: setup-test ## Format, types, layers, rooms, names, prose, rules, routes, proto, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.house
	@$(BIN)/python -m tests.lint_config

layout: setup ## The rooms of scaler/, their floors and the arrows between them
	@$(BIN)/python -m tests.house.layout

probe: setup-test ## Take out one thing after the other: does a test fail for each? Minutes
	@$(BIN)/python -m tests.probe $(ARGS)

format: setup ## Put the code in its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: setup ## Write all generated files: docs, schema, dashboards, thresholds, operator's rules, gRPC
	@$(BIN)/python -m docs.generate

bench-%: setup-demo ## A benchmark: bench-render, bench-worker-start, bench-exporter, bench-scale, …
	@$(BIN)/python -m tests.bench.bench_$(subst -,_,$*) $(ARGS)

constraints: ## Take the newest allowed packages and pin them
	@rm -rf .run/pins && $(PYTHON) -m venv .run/pins && .run/pins/bin/pip install --quiet '.[dev]'
	@{ head -1 constraints.txt; .run/pins/bin/pip freeze | grep -v '^rabbitreels-autoscaler'; } > .run/constraints.txt
	@mv .run/constraints.txt constraints.txt && rm -rf .run/pins build

clean: ## Remove .venv, .run and caches
	rm -rf $(VENV) .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
