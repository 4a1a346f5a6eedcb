# Two commands for a newcomer: `make run` and `make test`. Both set up .venv once, from the lock file.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: run test check fast slow bench lock

run: $(READY)  ## run the main job: a real paper on real data, every stage a Prefect task
	$(BIN)/overparam run parameter-sharing

test: check fast  ## lint, types, import contracts, tests

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(READY)
	$(BIN)/pytest -n 2 --dist loadscope

slow: $(READY)  ## campaigns and full comparisons, run by hand
	$(BIN)/pytest --runslow -m slow

bench: $(READY)  ## speed, as ratios in one run
	$(BIN)/pytest tests/benchmarks --bench --benchmark-disable-gc

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "overparam needs Python 3.11 or newer; PYTHON=path/to/python3.11 make run names another one")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

lock:  ## resolve anew, all extras included, and write requirements.lock
	$(PYTHON) .ci/lock.py
