# `make demo` and `make test` are all there is to type; each installs what it needs the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ANVIL := .cache/anvil/node_modules
BROWSER := .cache/browser/chromium
CHECKERS := .cache/deploy/.fetched
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test soak bench science lint types site anvil browser checkers contracts clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.demo  ## One whole round: five simulated miners, really trained, judged and settled
	$(BIN)/touchstone simulate

# The browser comes by npm, for one kind of machine.
test: $(VENV)/.dev $(if $(and $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),$(shell command -v npm)),$(BROWSER))  ## All tests: about 20 minutes on two cores
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not soak"

soak: $(VENV)/.dev  ## What takes longer than `make test` may
	$(BIN)/python -m pytest -m soak

bench: $(VENV)/.dev  ## Every figure of the README, into benchmarks/results.json
	$(BIN)/python -m benchmarks

science: $(VENV)/.dev  ## The figures of docs/results.md that are missing, cell by cell (a day of one core; stop at any time)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks science/

lint: $(VENV)/.dev  ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Types
	$(BIN)/mypy

site: $(VENV)/.dev  ## These pages as a site, in .cache/site; a broken link fails it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

anvil: $(ANVIL)  ## A real node for `--chain anvil`, and cast, for tests (needs Node.js)

browser: $(BROWSER)  ## A headless Chromium for the tests of pages (needs Node.js, Linux on x86-64)

checkers: $(CHECKERS)  ## The tools that hold deploy/ to its schemas and rules (needs Node.js; Debian, or a Prometheus)

contracts: $(VENV)/.dev  ## Compile the contract into the artefact that is shipped
	$(BIN)/python -m contracts.compile

clean:  ## Remove what make has made
	rm -rf $(VENV) .cache

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[simulate]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

$(ANVIL): tools/anvil/package-lock.json
	mkdir -p .cache/anvil
	cp tools/anvil/package.json tools/anvil/package-lock.json .cache/anvil/
	npm install --no-fund --no-audit --ignore-scripts --prefix .cache/anvil
	touch $@

$(BROWSER): tools/browser/package-lock.json tools/browser/unpack.mjs
	mkdir -p .cache/browser
	cp tools/browser/package.json tools/browser/package-lock.json tools/browser/unpack.mjs .cache/browser/
	npm install --no-fund --no-audit --ignore-scripts --prefix .cache/browser
	cd .cache/browser && node unpack.mjs
	touch $@

$(CHECKERS): tools/deploy/fetch.sh tools/deploy/requirements.txt tools/deploy/package-lock.json
	sh tools/deploy/fetch.sh
