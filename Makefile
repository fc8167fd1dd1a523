# `make` alone prints what there is. Every target makes what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MANAGE := $(BIN)/python manage.py
ASSETS := static/build/.built
ASSET_SOURCES := $(wildcard assets/*.* assets/icons/* static/js/*) $(shell find templates apps -name '*.html')

# the part of `make faults` that belongs to every `make test`
FAULTED := $(addprefix tests/runs/test_,settle.py cancel.py waitpoints.py)

# Every process of ours imports the same packages: let the first one keep what it compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## This list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt packages/holdfast/pyproject.toml
	@echo "installing into $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@grep -A 40 -E '^uv==' requirements/dev.txt | sed -n '1p; 2,$${/^ /!q; p}' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e packages/holdfast
	@touch $@

$(ASSETS): $(STAMP) $(ASSET_SOURCES)
	@$(BIN)/python assets/build.py

.PHONY: assets
assets: $(ASSETS) ## What the pages load: styles, icons, fonts, htmx

.PHONY: install
install: $(STAMP) ## The virtual environment, with everything pinned

.PHONY: demo
demo: $(STAMP) $(ASSETS) ## The main job, shown: start everything, ship an example, run it (ONCE=1: then stop)
	@$(MANAGE) demo $(if $(ONCE),--once)

.PHONY: up
up: $(STAMP) $(ASSETS) ## Everything on the embedded stores, until Ctrl-C (PORT=8000)
	@$(MANAGE) up $(if $(PORT),--port $(PORT))

.PHONY: doctor
doctor: $(STAMP) ## Is what `make up` started well?
	@$(MANAGE) doctor

.PHONY: db
db: $(STAMP) ## Empty the embedded database and seed the demo organization (while `make up` runs)
	@$(MANAGE) flush --no-input && $(MANAGE) seed

.PHONY: shell
shell: $(STAMP) ## A Python shell inside the server
	@$(MANAGE) shell

.PHONY: test
test: $(STAMP) $(ASSETS) ## All tests, against engines that they start themselves
	@$(BIN)/pytest -n 2 --dist loadgroup -q || { \
	  echo "once more, alone, what failed (docs/decisions/0041):"; \
	  $(BIN)/pytest -q -x --last-failed --last-failed-no-failures none; }
	@HOLDFAST_TEST_FAULTS=0.02 HOLDFAST_TEST_SEED=1 $(BIN)/pytest -n 2 -q -p no:cacheprovider $(FAULTED)

.PHONY: test-postgres
test-postgres: $(STAMP) ## The engine's tests on the system's own PostgreSQL, where there is one
	@bin=$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | head -n 1); \
	if [ -z "$$bin" ]; then echo "no system PostgreSQL here: skipped"; else \
	  echo "engine tests on $$($$bin/postgres --version)"; \
	  HOLDFAST_TEST_POSTGRES_BIN=$$bin $(BIN)/pytest -n 2 -q tests/runs; fi

.PHONY: faults
faults: $(STAMP) ## The engine's tests while PostgreSQL and Redis fail now and then (RATE=0.02 SEED=)
	@export HOLDFAST_TEST_FAULTS=$(or $(RATE),0.02) HOLDFAST_TEST_SEED=$(or $(SEED),$$RANDOM); \
	echo "SEED=$$HOLDFAST_TEST_SEED"; $(BIN)/pytest -n 2 --dist loadgroup -q tests/runs

.PHONY: upgrade
upgrade: $(STAMP) ## The SDK and worker of a former release against this server (FROM=tag or commit)
	@from=$(or $(FROM),$$(git describe --tags --abbrev=0 2>/dev/null)); \
	git cat-file -e "$$from^{commit}" 2>/dev/null || { \
	  echo "upgrade: there is no commit $${from:-to come from} here; name one as FROM=<tag or commit>."; \
	  echo "A shallow clone has few: git fetch --unshallow --tags"; exit 2; }; \
	echo "from $$(git log -1 --format='%h %s' $$from)"; \
	HOLDFAST_TEST_FORMER=$$from $(BIN)/pytest -q tests/scenario/test_former_sdk.py

.PHONY: check
check: $(STAMP) ## Format, lint, types, layers, migrations, templates
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff . 2>&1 | head -n 40; exit 1; }
	@$(BIN)/ruff check --quiet .
	@DEBUG=1 $(BIN)/mypy apps config packages/holdfast/src bench tests
	@set -o pipefail; DEBUG=1 $(BIN)/lint-imports --no-cache | tail -n 12
	@DEBUG=1 $(BIN)/python -W ignore manage.py makemigrations --check --dry-run --skip-checks 2>/dev/null \
	  || { echo "models have changed: make a migration"; exit 1; }
	@$(BIN)/djlint --lint --quiet templates

.PHONY: fix
fix: $(STAMP) ## Format, and mend what the linter can
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

.PHONY: screenshots
screenshots: $(STAMP) $(ASSETS) ## Pictures of all pages, light and dark, wide and narrow, in docs/images
	@$(BIN)/pytest -q tests/browser/test_pages.py --screenshots=docs/images

.PHONY: bench
bench: $(STAMP) $(ASSETS) ## Figures and aims, one JSON line each (ONLY="triggers runs": sections)
	@$(BIN)/python -m bench $(ONLY)

.PHONY: bench-sleepers
bench-sleepers: $(STAMP) ## Durable runs asleep by the hundred thousand, then all woken (COUNT=100000)
	@$(BIN)/python -m bench.durable $(or $(COUNT),100000)

.PHONY: chaos
chaos: $(STAMP) ## Load while everything is killed, cut and frozen; then a check (MINUTES=10 SEED=)
	@$(BIN)/python -m bench.chaos --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

.PHONY: bench-peers
bench-peers: $(STAMP) ## The same figures of what others use, side by side (PEERS="celery oban")
	@$(BIN)/python -m bench.peers $(PEERS)

.PHONY: soak
soak: $(STAMP) ## Steady load for hours; what must stay flat is measured (HOURS=1)
	@$(BIN)/python -m bench.soak --hours $(or $(HOURS),1)

.PHONY: lock
lock: $(STAMP) ## Compile requirements/*.in to *.txt with hashes
	@for name in base dev prod; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url \
	    requirements/$$name.in -o requirements/$$name.txt; done
