# `make run` shows SAGE at work on real models; `make test` runs every test and check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONCE ?=

.PHONY: run test setup models quality bench clean

# The user's environment: the package and its local engines, prebuilt wheels only.
$(VENV)/.local: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: SAGE needs Python 3.11 or newer; $$($(PYTHON) --version) is $(PYTHON). Set PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -e '.[local]'
	@touch $@

# What developing needs on top.
$(VENV)/.dev: pyproject.toml $(VENV)/.local
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary -e '.[dev]'
	@touch $@

setup: $(VENV)/.dev

models: $(VENV)/.local
	@$(BIN)/sage models install --default

run: models
	@$(BIN)/python examples/quickstart.py $(if $(ONCE),--once)

test: setup models
	$(BIN)/sage-dev test

quality: setup
	$(BIN)/sage-dev quality --check-only

bench: setup models
	$(BIN)/sage-dev bench

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
