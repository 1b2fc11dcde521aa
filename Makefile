# PYTHON chooses the interpreter; each one gets its own environment below .venv/.
PYTHON ?= python3
ENV := .venv/$(notdir $(PYTHON))
BIN := $(ENV)/bin
CORE := $(wildcard src_c/*) $(wildcard registry/_*.p*) registry/_python.h setup.py pyproject.toml

.PHONY: demo test coverage check-c check-long lint bench threads goals clean

demo: $(ENV)/built-cli
	$(BIN)/python -m registry replay

test: $(ENV)/built-test
	$(BIN)/python -m pytest -q

coverage: $(ENV)/built-test
	$(BIN)/python -m pytest -q --cov=registry --cov-branch --cov-report=term-missing --cov-fail-under=95

# The C core alone: plain, under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer.
check-c:
	$(MAKE) -C tests/c run run-asan run-tsan

# Every check of reliability for so many minutes together, on both interpreters; PYTHONS names others.
MINUTES ?= 30
PYTHONS ?= python3 $(notdir $(shell command -v python3.14t))
check-long:
	for python in $(PYTHONS); do $(MAKE) .venv/$$(basename $$python)/built-fuzz PYTHON=$$python || exit 1; done
	cd tests && ../.venv/python3/bin/python -m long $(MINUTES) $(foreach python,$(PYTHONS),$(CURDIR)/.venv/$(notdir $(python))/bin/python)

lint: $(ENV)/built-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict registry

bench: $(ENV)/built-bench
	$(BIN)/python -m pytest benchmarks -q --benchmark-only

threads: $(ENV)/built-bench
	$(BIN)/python benchmarks/threads.py

goals: $(ENV)/built-bench
	$(BIN)/python benchmarks/goals.py

clean:
	rm -rf .venv build dist registry/*.so *.egg-info tests/c/build

$(ENV)/bin/python:
	$(PYTHON) -m venv $(ENV)

# One environment, one editable build; the extras are added as they are asked for.
$(ENV)/built-%: $(ENV)/bin/python $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
