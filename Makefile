# Both `make demo` and `make test` set up what they need in .venv; nothing else is required but Python and make.
PYTHON ?= python3
BIN := .venv/bin

# Where it is set, every process that a test starts would compile the sources anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts docs check bench faults fuzz release clean constraints

help: ## Show what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/demo.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

.venv/dev.ok: .venv/demo.ok
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,deploy]'
	@touch $@

demo: .venv/demo.ok ## Replay ten months of real flights through Lapwing and show what it finds
	$(BIN)/lapwing demo --once

# In an order that is the same each time: what a run finds, the next one finds. Campaigns have others.
test: .venv/dev.ok ## Run all tests
	$(BIN)/pytest -n 4 --dist worksteal --randomly-seed=1

lint: .venv/dev.ok ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.ok ## Check types, strictly
	$(BIN)/mypy

contracts: .venv/dev.ok ## Check that imports follow the architecture
	$(BIN)/lint-imports

docs: .venv/dev.ok ## Build the documentation as a site, strictly; says where it is
	$(BIN)/python docs/website.py

check: lint types contracts docs test ## What CI checks first; .ci/run has the rest

bench: .venv/dev.ok ## Measure speed against stated baselines
	$(BIN)/python -m bench

FAULTS := LAPWING_FAULTS=long LAPWING_FAULT_SEED=$${LAPWING_FAULT_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}

faults: .venv/dev.ok ## Hurt the collector for an hour, root needed; LAPWING_FAULT_SEED repeats, LAPWING_FAULT_KILLS bounds
	$(FAULTS) $(BIN)/pytest -n 2 --dist worksteal tests/faults
	$(FAULTS) $(BIN)/pytest -n 2 --dist worksteal -m hypothesis tests

FUZZ_SECONDS ?= 600

fuzz: .venv/dev.ok ## Fuzz whatever reads bytes of others, for FUZZ_SECONDS each
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	for target in protobuf json arrow log raw_log compressed; do \
	  $(BIN)/python tests/fuzz/fuzz.py $$target .cache/corpus/$$target -max_total_time=$(FUZZ_SECONDS) \
	    -rss_limit_mb=2048 -timeout=20 -artifact_prefix=.cache/ -print_final_stats=1 || exit 1; \
	done

# Its own environments: what is listed is what the image has, and nothing that lists it.
EXTRAS = $(shell sed -n 's/^ARG EXTRAS=//p' deploy/docker/Dockerfile)
PIP_INSTALL := bin/pip install --quiet --disable-pip-version-check -c constraints.txt

.release/tool.ok: constraints.txt
	$(PYTHON) -m venv .release/tool
	.release/tool/$(PIP_INSTALL) cyclonedx-bom
	@touch $@

release: .venv/dev.ok .release/tool.ok ## Build wheel, source archive, list of contents and checksums into dist/
	rm -rf dist .release/image
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv .release/image
	.release/image/$(PIP_INSTALL) "lapwing[$(EXTRAS)] @ file://$$(ls $(CURDIR)/dist/*.whl)"
	.release/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file dist/sbom.json .release/image/bin/python
	cd dist && sha256sum * > SHA256SUMS

clean: ## Remove what make created
	rm -rf .release dist .venv .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
