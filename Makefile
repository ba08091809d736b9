# `make run` and `make test` set up everything they need; `make help` lists the rest.
PYTHON ?= python3
# Set TORCH='torch' for the newest build, or to a wheel of your own.
TORCH ?= torch==2.13.0
BIN := .venv/bin
# How many tests, or variants, run at a time.
JOBS ?= 2
# What reads the source and runs none of it: arrows between rooms, tests by room, docstrings.
LAWS := tests/test_architecture.py tests/test_mirror.py tests/test_wording.py

.PHONY: help run test check variants serve wasm dist clean

help:
	@echo 'make run       start a server, send a sample through it, write out.wav; open the page'
	@echo 'make test      lint, types and the whole test suite'
	@echo 'make check     lint, types, and the laws of imports, tests and words'
	@echo 'make variants  the tests of exactness, as on other CPUs, and C with sanitizers (2 minutes)'
	@echo 'make serve     a server with the bundled model'
	@echo 'make wasm      the C steps as WebAssembly for the page (clang, lld, wasi-libc)'
	@echo 'make dist      a wheel and a source distribution in dist/'
	@echo 'make clean     remove the environment'

run: .venv/run.stamp
	$(BIN)/facodec demo

serve: .venv/run.stamp
	$(BIN)/facodec serve

test: check
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(LAWS)

variants: .venv/test.stamp
	$(BIN)/python -m tests.variants --jobs $(JOBS)

wasm: .venv/run.stamp
	$(BIN)/python -m facodec.native.webassembly clients/web/codec.wasm

dist: .venv/dist.stamp
	$(BIN)/python -m build --outdir dist .

.venv/run.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python 3.10 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing into .venv (about a minute) ...'
	$(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[server]'
	@touch $@

.venv/dist.stamp: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check 'build>=1.2'
	@touch $@

.venv/test.stamp: .venv/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]' || \
	    echo 'No C compiler? Tests that need PESQ or Resemblyzer will be skipped.'
	@touch $@

clean:
	rm -rf .venv
