# Everything sets itself up: `make demo` and `make test` work on a machine with Python 3.11 or later and nothing else.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export OMP_WAIT_POLICY := PASSIVE
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test check lint format clean help

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@echo "== setting up $(VENV): a virtual environment with HubTune and its dependencies (about a minute)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)  ## pick, fine-tune and hand over a model, on embedded models and data
	@echo "== demo: search the embedded hub, fine-tune two picks, write a report"
	$(BIN)/hubtune demo

test: $(STAMP)  ## all tests, with coverage of src
	@echo "== tests: laws, contracts and commands, in two processes"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=hubtune --cov-report=term:skip-covered --cov-fail-under=90

check: $(STAMP)  ## what CI checks before the tests: style, types, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)  ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .coverage build dist
