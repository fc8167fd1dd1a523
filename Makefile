# `make` alone prints what there is. Every target makes what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help
help: ## This list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/dev.txt packages/holdfast/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e packages/holdfast
	@touch $@

.PHONY: install
install: $(STAMP) ## The virtual environment, with everything pinned

.PHONY: lock
lock: $(STAMP) ## Compile requirements/*.in to *.txt with hashes
	@for name in base dev prod; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url \
	    requirements/$$name.in -o requirements/$$name.txt; done
