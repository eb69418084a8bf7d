# The commands of the README. Everything is installed into .venv, nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of `make search`: a smaller search for a quick look, for example
#   make search IMAGES=1000 PASSES=10 EPOCHS=1
# PASSES over the images train the shared weights; by default a search makes more of them.
OUT ?= runs/first
IMAGES ?= 10000
PASSES ?= 40
EPOCHS ?= 7
SEED ?= 0

.PHONY: search test test-slow fuzz docs clean

search: $(VENV)/.installed
	$(BIN)/ddpnas search --data fashion-mnist-12k --limit-train-images $(IMAGES) \
	    --space nasbench201 --space-options.channels 8 --space-options.cells-per-stage 1 \
	    --evaluator-options.warmup-epochs $(PASSES) --seed $(SEED) --out $(OUT) --overwrite
	$(BIN)/ddpnas generate $(OUT) --limit macs=2M --rescore 50
	$(BIN)/ddpnas train $(OUT) --random 3 --same-size 3 --epochs $(EPOCHS) --seed $(SEED) \
	    --limit-train-images $(IMAGES) --overwrite
	$(BIN)/ddpnas report $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# Kills, several processes, exports of every space, whole walks.
test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal -m slow tests

# The fuzzers of `make test-slow` for longer, with other examples each time.
fuzz: $(VENV)/.installed-dev
	FUZZ=20 $(BIN)/pytest -n 2 --dist worksteal tests/fuzz

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
