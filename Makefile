# Each target does its own set-up: `make sweep` and `make test` work on a fresh checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: sweep test test-all lint notebooks figures claims bench clean

sweep: $(READY)
	$(BIN)/python -m mirrorflow.sweep
	@echo "To go on: source $(BIN)/activate; then python -m mirrorflow.sweep --help"
	@echo "or, without activating: $(BIN)/python -m mirrorflow.sweep --help"

test: $(READY) lint
	$(BIN)/python -m pytest -m "not slow"
	$(BIN)/python notebooks/execute.py --check

test-all: $(READY) lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

notebooks: $(READY)
	for study in initialization regularization schedules sgd; do \
		$(BIN)/python -m mirrorflow.sweep $$study || exit 1; \
	done
	$(BIN)/python notebooks/execute.py

STUDIES := theorem23 initialization regularization schedules sgd

figures: $(READY)
	for study in $(STUDIES); do \
		$(BIN)/python -m mirrorflow.sweep $$study || exit 1; \
		cp results/$$study/*.png results/$$study/*.pdf figures/; \
		cp results/$$study/rows.parquet figures/$${study}_rows.parquet; \
	done
	$(BIN)/python -m gpu_bench.run --methods all
	for suffix in png pdf; do cp results/one-shot/accuracy.$$suffix figures/one_shot.$$suffix; done
	cp results/one-shot/rows.parquet figures/one_shot_rows.parquet

claims: $(READY)
	$(BIN)/python -m mirrorflow.sweep claims --page docs/claims.md

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m benchmarks.run --publish

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) results build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
