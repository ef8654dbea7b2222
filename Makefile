# Everything a checkout needs. `make` alone lists the goals. Needs no root; writes only below this folder.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Programs on PATH come first, then those that `make tools` unpacked.
WITH_TOOLS := PATH="$$PATH:$(CURDIR)/.tools/usr/bin"
UV := $(firstword $(shell command -v uv 2>/dev/null) $(wildcard $(BIN)/uv) uv)

.DEFAULT_GOAL := help
.PHONY: help install tools up test check lint rules bench lock clean

help: ## This list
	@echo "Fleetpulse: what make can do"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | \
		awk -F '\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## Make .venv from requirements.lock and install Fleetpulse into it

# The stamp is newer than the lock exactly while the environment fits the lock.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Fleetpulse needs Python 3.11 or newer as python3." \
		"Install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments." \
		"Debian, Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

tools: $(INSTALLED) ## Make sure of prometheus, alertmanager, promtool and amtool (fetched without root)
	@$(BIN)/python -m fleetpulse.stack.tools

up: $(INSTALLED) ## Start exporter, Prometheus, Alertmanager and Grafana; Ctrl-C stops them
	@$(BIN)/fleetpulse up

test: tools ## Run the tests
	$(WITH_TOOLS) $(BIN)/python tools/run_tests.py

check: lint test ## What CI runs: format, lint, types, and the tests, those of the alert rules among them

lint: $(INSTALLED) ## Format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

rules: tools ## Check Prometheus' and Alertmanager's configuration, and test the alert rules
	$(WITH_TOOLS) promtool check config prometheus/prometheus.yml
	$(WITH_TOOLS) promtool test rules prometheus/tests/*.yml
	$(WITH_TOOLS) amtool check-config alertmanager/alertmanager.yml

bench: $(INSTALLED) ## Measure the claims of docs/performance.md (scripts that state a Claim:)
	@for script in $$(grep -l 'Claim:' tests/bench/*.py); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

lock: $(INSTALLED) ## Resolve the dependencies anew into requirements*.lock (needs uv)
	@command -v $(UV) >/dev/null || { echo "uv is not here: see https://docs.astral.sh/uv/" >&2; exit 1; }
	$(UV) pip compile --quiet pyproject.toml --extra server --group dev --universal --python-version 3.11 \
		--generate-hashes --no-header --output-file requirements.lock
	$(UV) pip compile --quiet pyproject.toml --extra server --constraint requirements.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --output-file requirements-runtime.lock

clean: ## Remove what can be made again (keeps data/)
	rm -rf $(VENV) .tools .tools.new .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find exporter tests -name __pycache__ -type d -prune -exec rm -rf {} +
