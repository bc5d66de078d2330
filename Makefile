# The project's tasks. `make` lists them. Settings: CONTEXT=name uses that kubeconfig context instead of the local cluster.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The system's Python first: an ordinary user (the tests' laptop) must be able to run it too, which one in a private home directory is not.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.1[1-9]) /usr/bin/python3 python3)
PY := .venv/bin/python
CONTEXT ?=
export CONTEXT

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- set-up ---------------------------------------------------------------------------------------------------
.PHONY: setup
setup: .venv/ready ## Make the virtual environment (.venv) from the lock file

.venv/ready: requirements-dev.lock pyproject.toml tests/ensure-venv
	@PYTHON="$(PYTHON)" tests/ensure-venv
	@touch $@

.PHONY: lock
lock: .venv/ready ## Renew requirements-dev.lock from pyproject.toml
	$(PY) -m piptools compile -q --extra dev --strip-extras --generate-hashes --allow-unsafe --upgrade \
	  --no-emit-index-url --no-emit-find-links --no-header --annotation-style=line -o requirements-dev.lock pyproject.toml

# ---- the main job ---------------------------------------------------------------------------------------------
.PHONY: demo
demo: .venv/ready $(if $(CONTEXT),,cluster) ## The talk's application, and a swap of tasks to a local process
	$(PY) -m docs.demo.demo

.PHONY: demo-images
demo-images: ## Build the demo's images for your own cluster: make demo-images [DEMO_REGISTRY=registry/me PUSH=1]
	DEMO_REGISTRY="$(DEMO_REGISTRY)" PUSH="$(PUSH)" $(PYTHON) docs/demo/build_images.py

.PHONY: cluster
cluster: .venv/ready ## Build (the first time about ten minutes) and start the local cluster
	$(PY) -m tests.cluster up

.PHONY: cluster-down
cluster-down: .venv/ready ## Stop the local cluster; leaves nothing running
	$(PY) -m tests.cluster down

.PHONY: proxy-image
proxy-image: ## Build the proxy image with docker, podman or buildah: make proxy-image IMAGE=registry/name:tag
	$(PYTHON) proxy-image/build.py "$(IMAGE)"

# ---- checks ---------------------------------------------------------------------------------------------------
.PHONY: test
test: lint unit component e2e ## All checks: lint, unit, component and end-to-end tests

.PHONY: tools
tools:
	@tests/ensure-tools

.PHONY: lint
lint: .venv/ready ## ruff, mypy, import-linter
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: unit
unit: .venv/ready ## Unit tests: pure code
	$(PY) -m pytest -n 2 tests/unit

.PHONY: component
component: .venv/ready tools ## Component tests: one package against a real peer
	$(PY) -m pytest -n 2 --dist loadfile tests/component

.PHONY: e2e
e2e: .venv/ready tools $(if $(CONTEXT),,cluster) ## End-to-end tests on the real cluster
	PY=$(PY) tests/e2e/run

.PHONY: test-faults
test-faults: .venv/ready tools cluster ## What dies, on the local cluster; FAULTS=full: often, and write docs/reference/guarantees.md
	$(PY) -m pytest tests/e2e/faults

# What `make bench` is told, as in: make bench ONLY="inbound dns" ROUNDS=3 SECONDS=1
BENCH_SETTINGS := ONLY WAYS LINKS CONNECTIONS FIGURE ROUNDS SECONDS IDLE SOAK KEPT
lower = $(shell echo $(1) | tr A-Z a-z)
BENCH = $(PY) -m tests.bench $(foreach name,$(BENCH_SETTINGS),$(if $($(name)),--$(call lower,$(name)) $($(name))))

.PHONY: bench
bench: .venv/ready ## Measure bridge beside its peers: make bench [ONLY="inbound dns"] [ROUNDS=3] ...
	$(BENCH)

.PHONY: bench-page
bench-page: .venv/ready ## Write docs/reference/performance.md from what `make bench` has measured
	$(BENCH) --page

# ---- the end --------------------------------------------------------------------------------------------------
.PHONY: clean
clean: ## Undo everything that make did here: cluster, builds, virtual environment
	@if [ -x $(PY) ]; then $(PY) -m tests.cluster down; fi
	rm -rf .cluster .build .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
