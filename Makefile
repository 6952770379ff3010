# Two commands do it all: `make demo` and `make test`. `make help` lists the rest.

CARGO ?= cargo
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
export PATH := $(HOME)/.cargo/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup page library build native demo test test-webrtc-direct test-interop lint bench sim clean

help: ## Show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## Install what is missing: Debian's packages (as root or with sudo) and the C++ toolchain
	@scripts/setup

page: setup ## Build the page for browsers, which the programs built afterwards carry
	@scripts/page

library: page ## Build the library for browsers as an npm package: browser-node/web/library/webmesh-0.1.0.tgz
	@npm --prefix browser-node/web run --silent library

build: page native ## Build the programs and the page, optimised (10 minutes on 2 cores; some minutes for the page after `make demo`)

native: setup
	@scripts/build -p webmesh -p webmesh-bootstrap
	@scripts/symbols $(RELEASE)/webmesh $(RELEASE)/webmesh-bootstrap

demo: setup ## Build what the demo needs (10 minutes on 2 cores), and count the words of the sources that cargo fetched
	@echo "Building WebMesh: about 10 minutes on 2 cores the first time." >&2
	@scripts/build -p webmesh
	@scripts/symbols $(RELEASE)/webmesh
	@scripts/demo

test: setup ## Formatting, lints, unit, integration, simulation, browser and interoperation tests (an hour)
	@scripts/test

test-webrtc-direct: ## Test the transport for browsers; SOAK_SECONDS=3600 makes its soak an hour
	$(CARGO) test --release -p webmesh-webrtc-direct --all-features

test-interop: ## Test it with Chromium, Firefox, py-libp2p and the published crates; installs them
	@node/webrtc-direct/interop/run

lint: setup ## Formatting, clippy, the code's documentation, and its dependencies' licences and sources
	@scripts/lint

bench: native ## Measure what docs/benchmarks.md tells; PARTS="gb files tasks small compile sim" chooses
	@scripts/bench $(PARTS)

sim: setup ## Simulate a mesh: make sim ARGS="--peers 1000 --tasks 200000 --seed 7"
	$(CARGO) run --release -p webmesh-protocol --features sim --example simulate -- $(ARGS)

clean: ## Remove what was built here (the C++ toolchain stays; it is shared by all clones)
	$(CARGO) clean
