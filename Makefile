# The commands of the README. Everything is installed into .venv, nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make search`: MINUTES for the search and its training, and as many for the baseline.
OUT ?= runs/first
MINUTES ?= 2
LIMIT ?= macs=500K
SEED ?= 0

.PHONY: search test test-slow fuzz docs clean

search: $(VENV)/.installed
	$(BIN)/ddpnas fit fashion-mnist-12k --limit $(LIMIT) --minutes $(MINUTES) --seed $(SEED) \
	    --baseline residual --out $(OUT) --overwrite

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# Kills, several processes, exports of every space, whole walks.
test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m slow tests

# The fuzzers of `make test-slow` for longer, and all properties; with other examples each time.
fuzz: $(VENV)/.installed-dev
	FUZZ=20 $(BIN)/pytest -n 2 --dist worksteal -m hypothesis tests

# The site, into site/; `.venv/bin/mkdocs serve` shows it while pages change.
docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info src/*.egg-info
