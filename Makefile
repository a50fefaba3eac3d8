# make demo · make test · make lint · make check (both) · make bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_THREADS := OMP_NUM_THREADS=1

.PHONY: demo test lint check bench clean

demo: $(STAMP)
	$(BIN)/middo-tui demo

test: $(STAMP)
	$(TEST_THREADS) $(BIN)/pytest -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

# The pages in docs/benchmarks that need neither a GPU nor a model from elsewhere.
bench: $(STAMP)
	$(TEST_THREADS) $(BIN)/python benchmarks/tui.py
	$(TEST_THREADS) $(BIN)/python benchmarks/thresholds.py
	$(TEST_THREADS) $(BIN)/python benchmarks/word_diff.py --out docs/benchmarks/word-diff.md
	$(TEST_THREADS) $(BIN)/python benchmarks/neighbours.py

# The stamp is written last, so a broken install is done again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "middo-tui needs Python 3.11 or newer: make PYTHON=python3.11 demo"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) middo-demo
