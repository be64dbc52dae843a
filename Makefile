# Everything a newcomer needs is installed by these commands, into .venv, and by nothing else.

PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test test-long check format docs parity clean

demo: $(VENV)/installed-train  ## Train on noisy real data, without and with data parameters
	$(BIN)/data-parameters demo

test: $(VENV)/installed-dev  ## Tests and documented examples, 15 minutes at most on two cores
	$(BIN)/pytest -m "not long"

test-long: $(VENV)/installed-dev  ## Tests that start real processes or build real packages
	$(BIN)/pytest -m long

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

clean:
	rm -rf $(VENV) dist docs/_build docs/api/generated .pytest_cache .mypy_cache .ruff_cache
