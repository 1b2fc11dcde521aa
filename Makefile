# PYTHON chooses the interpreter. Each interpreter has an environment of its own in .venv/.
PYTHON ?= python3
ENV := .venv/$(notdir $(PYTHON))
BIN := $(ENV)/bin
C_SOURCES := $(wildcard src_c/*.h src_c/*/*.[ch] tests/c/*.[ch] registry/_core/*.h)
CORE := $(wildcard src_c/*.h src_c/*/*.[ch] registry/_core/*.p* registry/_core/*.h) \
  setup.py pyproject.toml
# Python scripts without `.py` in their names.
SCRIPTS := tests/c/plant tests/sanitizers/check tests/spin/check

.PHONY: demo test format coverage check-c check-long lint \
  bench bench-full full-results bench-reference peers clean

demo: $(ENV)/built-cli
	$(BIN)/python -m registry replay

# The tests start hundreds of interpreters, which takes four times as long without cached bytecode.
# Some machines turn the cache off, or have none for the standard library.
test: export PYTHONDONTWRITEBYTECODE :=
test: export PYTHONPYCACHEPREFIX := $(CURDIR)/$(ENV)/pycache
test: $(ENV)/built-test
	$(BIN)/python -m pytest -q

# Formats Python and C.
format: $(ENV)/built-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_SOURCES)

coverage: $(ENV)/built-test
	$(BIN)/python -m pytest -q --cov=registry --cov-branch --cov-report=term-missing \
	  --cov-fail-under=95

# The tests of the C core: plain, with AddressSanitizer and UndefinedBehaviorSanitizer, and with
# ThreadSanitizer.
check-c:
	$(MAKE) -C tests/c run run-asan run-tsan

# All reliability checks for MINUTES in total, on the interpreters in PYTHONS.
MINUTES ?= 30
PYTHONS ?= python3 $(notdir $(shell command -v python3.14t))
check-long:
	for python in $(PYTHONS); do \
	  $(MAKE) .venv/$$(basename $$python)/built-fuzz PYTHON=$$python || exit 1; \
	done
	cd tests && ../.venv/python3/bin/python -m long $(MINUTES) \
	  $(foreach python,$(PYTHONS),$(CURDIR)/.venv/$(notdir $(python))/bin/python)

# Checks the style, then the types: mypy and pyright over all Python, stubtest for the stubs of the
# compiled core, and pyright again to verify that all public names have complete types.
lint: $(ENV)/built-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(C_SOURCES)
	$(BIN)/mypy
	for script in $(SCRIPTS); do $(BIN)/mypy $$script || exit 1; done
	$(BIN)/stubtest registry --mypy-config-file pyproject.toml --allowlist tests/static/stubtest.txt
	$(BIN)/pyright --pythonpath $(BIN)/python
	PYTHONPATH=. $(BIN)/pyright --pythonpath $(BIN)/python --ignoreexternal \
	  --verifytypes registry >$(ENV)/verifytypes.log || { cat $(ENV)/verifytypes.log; exit 1; }

# The quick benchmark suite. It measures the peers that `make peers` has installed.
bench: $(ENV)/built-bench
	$(BIN)/python -m benchmarks run

# The full suite on every interpreter in PYTHONS, then a comparison of the first two.
bench-full:
	for python in $(PYTHONS); do $(MAKE) full-results PYTHON=$$python || exit 1; done
	.venv/$(notdir $(firstword $(PYTHONS)))/bin/python -m benchmarks side-by-side \
	  $(foreach python,$(PYTHONS),results/full-$(notdir $(python)).json)

full-results: $(ENV)/built-bench
	$(BIN)/python -m benchmarks run --suite full --output results/full-$(notdir $(PYTHON)).json

# Measures the committed results again, and updates the tables and plots in the README files.
bench-reference: bench-full
	mkdir -p benchmarks/reference
	cp results/full-python3.json benchmarks/reference/gil.json
	cp results/full-python3.14t.json benchmarks/reference/free-threaded.json
	.venv/python3/bin/python -m benchmarks readme

# Installs the peers, from a wheel if there is one, otherwise from source. It names the peers that
# cannot be installed; the suite runs without them.
PEERS := cereggii 'ft_utils>=0.2' litellm
peers: $(ENV)/built-bench
	for peer in $(PEERS); do \
	  $(BIN)/pip install --quiet --only-binary :all: "$$peer" || \
	  $(BIN)/pip install --quiet "$$peer" || \
	  echo "$$peer cannot be installed for $(PYTHON)"; \
	done 2>$(ENV)/peers.log
	benchmarks/peers/dashmap/build

clean:
	rm -rf .venv build dist registry/_core/*.so *.egg-info tests/c/build

$(ENV)/bin/python:
	$(PYTHON) -m venv $(ENV)

# An editable build with one of the extras; built-test, for example, installs the extra `test`.
$(ENV)/built-%: $(ENV)/bin/python $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
