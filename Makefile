# `make` alone prints what there is. Long steps live in scripts/.

PYTHON ?= python3
export PYTHON
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev models run test test-fast test-full test-tools lint bench bench-quick bench-rag dist clean

## Print this list.
help:
	@awk '/^## / { text = substr($$0, 4); next } \
	      /^[a-z-]+:/ && text { split($$0, name, ":"); printf "  make %-11s %s\n", name[1], text } { text = "" }' Makefile

## Make .venv with the packages (llama.cpp is built once), and fetch the starter models when models/ has none.
setup:
	@scripts/setup.sh requirements.txt
	@ls models/*.gguf >/dev/null 2>&1 || $(PY) offgrid.py models starter

## Start the server. HOST=0.0.0.0 PORT=8080 and every OFFGRID_* variable pass through.
run: setup
	@exec $(PY) offgrid.py serve $(if $(HOST),--host '$(HOST)') $(if $(PORT),--port '$(PORT)')

## Fetch the starter models: a small one for chat and one for embeddings.
models:
	@scripts/setup.sh requirements.txt
	@$(PY) offgrid.py models starter

setup-dev:
	@scripts/setup.sh requirements-dev.txt
	@scripts/node_packages.sh

## Run the tests: the fast ones first, then those on the starter models.
test: test-fast
	@$(PY) offgrid.py models starter
	$(PY) -m pytest -m "model and not full"

## Run the tests that need no starter model, in a minute.
test-fast: setup-dev
	$(PY) -m pytest -n 2 --dist worksteal -m "not model and not full"

## Run all tests: also faults and soak, which take a while.
test-full: test
	$(PY) -m pytest -m full

## Fetch the system tools that some tests need into .tools/: promtool, from Debian (root only without package lists).
test-tools:
	@scripts/test_tools.sh

## Check style, formatting and that imports point down.
lint: setup-dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pytest -q tests/test_imports.py

## Measure OffGrid beside llama-server, half an hour on a quiet machine, and write docs/benchmarks.md.
bench: setup
	$(PY) bench/run.py --out docs $(ARGS)

## The same in small, to see that everything works; ARGS="--only clients" runs a part.
bench-quick: setup
	$(PY) bench/run.py --quick $(ARGS)

## Measure the knowledge base: what it finds, how fast it searches and embeds; half an hour on a quiet machine.
bench-rag: setup
	$(PY) bench/rag.py --out docs $(ARGS)

## Put the program into one file, dist/offgrid.pyz.
dist:
	@scripts/dist.sh

## Remove what was built. The environment, the models and the data stay.
clean:
	rm -rf build dist *.egg-info .ruff_cache
	find offgrid tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
