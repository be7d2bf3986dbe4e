# Each target does its own set-up: `make sweep` and `make test` work on a fresh checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help sweep test test-all test-matrix lint docs notebooks figures claims explorer bench mutants clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

sweep: $(READY) ## Theorem 2.3 on one synthetic and two real problems: verdicts, figures, rows
	$(BIN)/python -m mirrorflow.sweep
	@echo "To go on: source $(BIN)/activate; then python -m mirrorflow.sweep --help"
	@echo "or, without activating: $(BIN)/python -m mirrorflow.sweep --help"

test: $(READY) lint ## lint, types, tests, notebooks
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile
	$(BIN)/python notebooks/execute.py --check

test-all: $(READY) lint ## the slow tests too, with pages opened in a browser
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,site,browser]"
	$(BIN)/python -m pytest -n auto --dist loadfile

test-matrix: ## quick tests on each Python 3.11 to 3.14 found, and on the lowest dependencies
	$(PYTHON) tests/matrix.py $(ONLY)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: explorer ## the documentation, build/site/index.html
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,site]"
	$(BIN)/python -m sphinx -W --keep-going -j 2 -q docs build/site

notebooks: $(READY) ## execute and write the notebooks
	for study in initialization regularization schedules sgd; do \
		$(BIN)/python -m mirrorflow.sweep $$study || exit 1; \
	done
	$(BIN)/python notebooks/execute.py

STUDIES := theorem23 discrete margins depth saddles initialization regularization schedules sgd

figures: $(READY) ## every study's figures and rows, into figures/
	for study in $(STUDIES); do \
		$(BIN)/python -m mirrorflow.sweep $$study || exit 1; \
		cp results/$$study/*.png results/$$study/*.pdf figures/; \
		cp results/$$study/rows.parquet figures/$${study}_rows.parquet; \
	done
	$(BIN)/python -m gpu_bench.run --methods all
	for suffix in png pdf; do cp results/one-shot/accuracy.$$suffix figures/one_shot.$$suffix; done
	cp results/one-shot/rows.parquet figures/one_shot_rows.parquet

explorer: $(READY) ## the explorer as one HTML page, build/explorer/index.html
	$(BIN)/python -m mirrorflow explore --page build/explorer/index.html

claims: $(READY) ## the ledger of claims, docs/claims.md
	$(BIN)/python -m mirrorflow.sweep claims --page docs/claims.md

bench: $(READY) ## flows and limits against other libraries, docs/performance.md
	@echo "Installing the other libraries into $(VENV) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m benchmarks.run --publish

mutants: $(READY) ## which of a sample of mutations the tests notice, at most 20 minutes
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,mutants]"
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py

$(READY): pyproject.toml constraints.txt
	@echo "Installing mirrorflow and what it needs into $(VENV): some minutes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)
	@echo "Installed. To use it in this shell: . $(VENV)/bin/activate"

clean: ## remove environments, results and caches
	rm -rf $(VENV) .matrix results build docs/notebooks docs/api/generated *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
