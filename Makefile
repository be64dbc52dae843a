# Everything a newcomer needs is installed by these commands, into .venv, and by nothing else.
# `make test-lowest` has a folder of its own, .venv-lowest.

PYTHON ?= python3
VENV ?= .venv
# The lowest Python that pyproject.toml admits, and where its packages go.
LOWEST_PYTHON ?= python3.11
LOWEST ?= .venv-lowest
TESTS ?=
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test test-long test-lowest check format docs parity clean

demo: $(VENV)/installed-train  ## Train on noisy real data, without and with data parameters
	$(BIN)/data-parameters demo

test: $(VENV)/installed-dev  ## Tests and documented examples, 15 minutes at most on two cores
	$(BIN)/pytest -m "not long"

test-long: $(VENV)/installed-dev  ## Tests that start real processes or build real packages
	$(BIN)/pytest -m long

test-lowest: $(LOWEST)/installed  ## All tests, on the lowest versions of everything that pyproject.toml admits
	$(LOWEST)/bin/python --version
	$(LOWEST)/bin/pip freeze --exclude-editable
# What these versions say about later ones, which came long ago, is no error.
	$(LOWEST)/bin/pytest -W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning $(TESTS)

check: $(VENV)/installed-dev  ## Format, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/installed-dev  ## The documentation, in docs/_build
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build
	@echo "Open docs/_build/index.html"

parity: $(VENV)/installed-train  ## The published code live beside ours: make parity PEER=path
	$(BIN)/python benchmarks/parity_live.py "$(PEER)"

$(VENV)/installed-train: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt -e '.[train]'
	touch $@

$(VENV)/installed-dev: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt -e '.[dev]'
	touch $(VENV)/installed-train $@

$(LOWEST)/installed: pyproject.toml scripts/lowest_versions.py
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python scripts/lowest_versions.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --disable-pip-version-check -c $(LOWEST)/lowest.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) dist docs/_build docs/api/generated .pytest_cache .mypy_cache .ruff_cache
