# PYTHON chooses the interpreter; each one gets its own environment below .venv/.
PYTHON ?= python3
ENV := .venv/$(notdir $(PYTHON))
BIN := $(ENV)/bin
C_SOURCES := $(wildcard src_c/*.h src_c/*/*.[ch] tests/c/*.[ch] registry/_core/*.h)
CORE := $(wildcard src_c/*.h src_c/*/*.[ch] registry/_core/*.p* registry/_core/*.h) setup.py pyproject.toml

.PHONY: demo test format coverage check-c check-long lint bench bench-full full-results bench-reference peers clean

demo: $(ENV)/built-cli
	$(BIN)/python -m registry replay

test: $(ENV)/built-test
	$(BIN)/python -m pytest -q

# Python and C in the one style: ruff's and .clang-format's.
format: $(ENV)/built-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_SOURCES)

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

# Style, then types: two checkers over all Python, the stub against the compiled core, and whether what is public has a type
# that users' checkers know.
lint: $(ENV)/built-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	$(BIN)/mypy
	$(BIN)/stubtest registry --mypy-config-file pyproject.toml --allowlist tests/static/stubtest.txt
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=. $(BIN)/pyright --pythonpath $(BIN)/python --ignoreexternal --verifytypes registry >$(ENV)/verifytypes.log \
	  || { cat $(ENV)/verifytypes.log; exit 1; }

# The quick suite; `make peers` first installs what it measures beside.
bench: $(ENV)/built-bench
	$(BIN)/python -m benchmarks run

# All of it on every interpreter, then two of them side by side.
bench-full:
	for python in $(PYTHONS); do $(MAKE) full-results PYTHON=$$python || exit 1; done
	.venv/$(notdir $(firstword $(PYTHONS)))/bin/python -m benchmarks side-by-side $(foreach python,$(PYTHONS),results/full-$(notdir $(python)).json)

full-results: $(ENV)/built-bench
	$(BIN)/python -m benchmarks run --suite full --output results/full-$(notdir $(PYTHON)).json

# The committed results, measured anew, and what the README files show of them.
bench-reference: bench-full
	mkdir -p benchmarks/reference
	cp results/full-python3.json benchmarks/reference/gil.json
	cp results/full-python3.14t.json benchmarks/reference/free-threaded.json
	.venv/python3/bin/python -m benchmarks readme

# A wheel where there is one, else from source; what can't be had is named, and left out of the suite.
PEERS := cereggii 'ft_utils>=0.2' litellm
peers: $(ENV)/built-bench
	for peer in $(PEERS); do \
	  $(BIN)/pip install --quiet --only-binary :all: "$$peer" || $(BIN)/pip install --quiet "$$peer" || echo "$$peer can't be had for $(PYTHON)"; \
	done 2>$(ENV)/peers.log
	benchmarks/peers/dashmap/build

clean:
	rm -rf .venv build dist registry/_core/*.so *.egg-info tests/c/build

$(ENV)/bin/python:
	$(PYTHON) -m venv $(ENV)

# One environment, one editable build; the extras are added as they are asked for.
$(ENV)/built-%: $(ENV)/bin/python $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
