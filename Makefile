# The main targets are `make demo` and `make test`; `make help` lists all of them.

CARGO ?= cargo
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
export PATH := $(HOME)/.cargo/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup page library build native demo test test-webrtc-direct test-interop lint bench sim clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## Install missing Debian packages (as root or with sudo) and the C++ toolchain
	@scripts/setup

page: setup ## Build the page for browsers, which is embedded in the programs built afterwards
	@scripts/page

library: page ## Build the browser library as an npm package: browser-node/web/library/webmesh-0.1.0.tgz
	@npm --prefix browser-node/web run --silent library

build: page native ## Build the optimised programs and the page (10 minutes on 2 cores; a few minutes after `make demo`)

native: setup
	@scripts/build -p webmesh -p webmesh-bootstrap
	@scripts/symbols $(RELEASE)/webmesh $(RELEASE)/webmesh-bootstrap

demo: setup ## Build the program (10 minutes on 2 cores), and count the words of the sources that cargo downloaded
	@echo "Building WebMesh: about 10 minutes on 2 cores the first time." >&2
	@scripts/build -p webmesh
	@scripts/symbols $(RELEASE)/webmesh
	@scripts/demo

test: setup ## Check formatting and lints, and run the unit, integration, simulation, browser and interoperability tests (an hour)
	@scripts/test

test-webrtc-direct: ## Test the WebRTC-direct transport; SOAK_SECONDS=3600 makes its soak test an hour long
	$(CARGO) test --release -p webmesh-webrtc-direct --all-features

test-interop: ## Test the transport with Chromium, Firefox, py-libp2p and the published crates; installs them
	@node/webrtc-direct/interop/run

lint: setup ## Check formatting, clippy, rustdoc, and the licences and sources of dependencies
	@scripts/lint

bench: native ## Run the benchmarks of docs/benchmarks.md; PARTS="gb files tasks small compile sim" selects some
	@scripts/bench $(PARTS)

sim: setup ## Simulate a mesh: make sim ARGS="--peers 1000 --tasks 200000 --seed 7"
	$(CARGO) run --release -p webmesh-protocol --features sim --example simulate -- $(ARGS)

clean: ## Remove the build output, but not the C++ toolchain, which all clones share
	$(CARGO) clean
