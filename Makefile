# Every target sets up .venv by itself when it is missing or older than requirements.lock.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help setup sweep test lint ui bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## make the environment, nothing else

$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV) with the versions of requirements.lock (several GB on the first run; cached after that) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, but $(PYTHON) is " + sys.version.split()[0] + "; set PYTHON=python3.11 (or newer)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@
	@echo "Ready."

sweep: $(READY) ## sweep the distillation weight on the built-in data set (minutes on two cores)
	@echo "python sweeps/kd_alpha.py $(ARGS)"
	@$(BIN)/python sweeps/kd_alpha.py $(ARGS)

test: $(READY) ## run the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

ui: $(READY) ## browse the runs in MLflow on http://127.0.0.1:5000
	@$(BIN)/python -m analysis.ui $(ARGS)

bench: $(READY) ## measure speed and memory beside their peers; writes benchmarks/results.json
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY) ## resolve requirements.lock again from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --extra bench --extra server --upgrade pyproject.toml --output-file requirements.lock
	@echo "requirements.lock written."

clean: ## remove the environment and caches (results stay)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@echo "Removed $(VENV) and the caches; results/ was left alone."
