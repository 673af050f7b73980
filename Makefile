# Two commands matter: `make demo` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The quick tier skips what takes minutes; every worker sees its own 8 CPU devices.
WORKERS ?= 2

.PHONY: demo test test-all test-exhaustive lint format clean

demo: $(STAMP)  ## train on phantoms for a few minutes, register a pair never seen, draw it
	$(BIN)/python train.py --config configs/quickstart.yaml --run-dir runs/quickstart --resume
	$(BIN)/python eval.py --checkpoint runs/quickstart --method demons
	$(BIN)/python eval.py --checkpoint runs/quickstart

test: $(STAMP) lint  ## lint, types, import layers, quick tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not exhaustive"

test-all: $(STAMP) test  ## the slow tier too: real data, several processes, other tools
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "slow and not exhaustive"

test-exhaustive: $(STAMP)  ## what the slow tier takes a part of: a hundred affines, twenty kills
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m exhaustive

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info
