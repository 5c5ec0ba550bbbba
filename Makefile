# What to do with this project. Each target installs what it misses, or names the Debian packages and stops.

# CI compiles without debug information; everyone else wants line numbers.
PROFILE := $(if $(CI),ci,dev)
BINARY  := target/$(if $(CI),ci,debug)/rave
RELEASE := target/release/rave
VENV    := .venv
PYTHON  := $(VENV)/bin/python

.PHONY: help demo test test-rust test-fuzz test-e2e test-stock-runner fuzz bench conformance lint fmt build release screenshots clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build, start a server, and watch a real project being pushed, built, tested and released
	@scripts/need build demo
	@echo "Building RAVE; the first time takes about two minutes on two CPUs"
	cargo build --profile $(PROFILE) --package rave
	$(BINARY) demo $(DEMO_ARGS)

build: ## Build the binary for development
	@scripts/need build
	cargo build --profile $(PROFILE) --package rave

release: ## Build the binary for use
	@scripts/need build
	cargo build --release --package rave

test: test-rust test-fuzz test-e2e ## Run all tests: the crates' own on SQLite and PostgreSQL, random input, then stock clients against the binary

test-rust:
	@scripts/need build test
	@scripts/guest-kernel
	PROPTEST_RNG_SEED=1 cargo test --profile $(PROFILE) --workspace

test-fuzz:
	scripts/fuzz 10

fuzz: ## Feed random input to what reads other people's text, for a minute each (FUZZ_SECONDS), and try properties anew
	scripts/fuzz $(or $(FUZZ_SECONDS),60)
	PROPTEST_CASES=5000 cargo test --profile $(PROFILE) --workspace --lib

test-e2e: build $(VENV)/ready
	@scripts/need test
	@scripts/stock-runner --if-possible
	RAVE_BINARY=$(abspath $(BINARY)) $(PYTHON) -m pytest tests $(PYTEST_ARGS)

test-stock-runner: build $(VENV)/ready ## Build the stock GitLab Runner (needs Go 1.26.5) and let it do jobs
	@scripts/need test
	scripts/stock-runner
	RAVE_BINARY=$(abspath $(BINARY)) $(PYTHON) -m pytest tests/test_stock_*.py $(PYTEST_ARGS)

bench: release $(VENV)/ready ## Measure against peers in the same run (see bench/README.md)
	@scripts/need bench
	RAVE_BINARY=$(abspath $(RELEASE)) $(PYTHON) bench/run.py $(BENCH_ARGS)

conformance: build $(VENV)/ready ## Run the cases of a gitlab-ci-local checkout: make conformance CHECKOUT=DIR
	RAVE_BINARY=$(abspath $(BINARY)) $(PYTHON) tests/gitlab_ci_local.py $(CHECKOUT) $(CONFORMANCE_ARGS)

lint: ## Check format, clippy, documentation, layers and, where installed, dependencies
	@scripts/need build
	cargo fmt --all --check
	cargo clippy --profile $(PROFILE) --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" cargo doc --profile $(PROFILE) --workspace --no-deps --document-private-items --quiet
	cargo xtask layers
	@cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null || { echo "fuzz/Cargo.lock is behind: cargo metadata --manifest-path fuzz/Cargo.toml mends it"; exit 1; }
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	else echo "cargo-deny is not installed (cargo install cargo-deny): dependencies are not checked"; fi

fmt: ## Format the code
	cargo fmt --all

screenshots: release $(VENV)/ready ## Take the README's picture and every page in light and dark from a real run
	@scripts/need test demo
	RAVE_BINARY=$(abspath $(RELEASE)) $(PYTHON) scripts/screenshots.py

$(VENV)/ready: tests/requirements.txt
	@scripts/need test
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@

clean: ## Remove what was built
	cargo clean
	rm -rf $(VENV) bench/out
