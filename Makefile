# Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup check lint test test-all test-image run demo bench debs image clean
export HOME ?= /root
export CAUDAL_CACHE ?= $(HOME)/.cache/caudal
export CARGO_TARGET_DIR := $(CAUDAL_CACHE)/cargo
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
ARGS ?=
# Tests mostly wait; each worker has a network, an emulator and a client of its own.
WORKERS ?= $(shell nproc)

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## everything that building, running and testing need (apt, uv, cargo, Azurite)
	@tools/setup

lint: ## formats, lints and types, of Python and Rust
	@tools/setup python native web
	@tools/lint

check: ## lint and the unit tests
	@tools/setup python native web client
	@tools/lint
	@$(PYTEST) -q tests/unit $(ARGS)

test: ## all: lint, Rust tests, every Python test on real servers and clients, the image as it boots (needs root)
	@tools/setup
	@tools/setup image
	@tools/lint
	@tools/rust-tests
	@$(PYTEST) -n $(WORKERS) --dist loadfile $(ARGS)

test-image: export TEST_VERSIONS := all
test-image: ## the appliance alone, with what takes long: lost disks, upgrades, power cuts, an emulated PC (needs root; half an hour)
	@tools/setup python native ganesha web client image
	@tools/image
	@$(PYTEST) tests/image $(ARGS)

test-all: export TEST_VERSIONS := all
test-all: test ## test over every NFS version and with what takes long, then random file operations, POSIX conformance beside stock
	@$(BIN)/python -m bench.fsx
	@$(BIN)/python -m bench.conformance

run: ## Caudal in the foreground on a directory store, for this machine only (ARGS: more options of `caudal up`)
	@tools/setup python native ganesha web
	@exec $(BIN)/caudal up --state $(or $(STATE),$(CAUDAL_CACHE)/run) $(ARGS)

demo: ## a real client copies a tree in, the server is killed, everything is read back
	@tools/setup
	@$(BIN)/python -m tools.demo $(ARGS)

debs: ## Debian packages of the server, the admin service and the appliance, in dist/debs
	@tools/setup python native ganesha web
	@tools/debs

image: ## the appliance as an image: dist/caudal.img, dist/caudal.qcow2 (needs root; 10 minutes the first time)
	@tools/setup python native ganesha web image
	@tools/image

bench: ## Caudal beside the stock server on the same disk; records the figures and renders docs/performance.md
	@tools/setup
	@$(BIN)/python -m bench.run $(ARGS)

clean: ## what building left in the tree (the cache stays: $(CAUDAL_CACHE))
	@rm -rf .venv gateway/_core*.so gateway/pyganesha/_build admin_api/_web admin_api/web/node_modules dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
