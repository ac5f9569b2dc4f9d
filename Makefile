# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release
# Static, so that the plugin runs on any node's host whatever its libc is.
STATIC := -C target-feature=+crt-static
# Naming a fuzzer's library keeps libfuzzer-sys from building its own, for which a C++ compiler would
# be needed; a check links nothing, so the file need not be there.
CHECK_FUZZ := CUSTOM_LIBFUZZER_PATH=/nonexistent/libfuzzer.a cargo check --locked --manifest-path fuzz/Cargo.toml \
	--target-dir $(TARGET)/fuzz
CONFORMANCE := $(wildcard ../shared/conformance/run.py)

.PHONY: help
help: ## Lists the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Builds, then shows a pod's set-up end to end on this machine, no cluster needed
	@$(RELEASE)/istio-cni-otel demo $(DEMO_ARGS)

.PHONY: build
build: have-cargo ## Leaves the static binaries istio-cni and istio-cni-otel in target/release
	cargo rustc --locked --release --bin istio-cni -- $(STATIC)
	cargo rustc --locked --release --bin istio-cni-otel -- $(STATIC)

.PHONY: test
test: have-cargo prerequisites ## Runs every test; installs what they run from Debian when it may, and builds cnitool with Go
	cargo test --locked --no-fail-fast
	@$(MAKE) --no-print-directory conformance

.PHONY: conformance
conformance: build ## Compares packet verdicts with the recorded ones, in four ways, where the records are
ifeq ($(CONFORMANCE),)
	@echo "conformance: ../shared/conformance is not on this machine, so the recorded packet verdicts were NOT compared; the project's own packet tests ran."
else
	tests/conformance.sh $(CONFORMANCE) $(abspath $(RELEASE))
endif

.PHONY: lint
lint: have-cargo ## Format, clippy, the fuzz targets, licences and sources of the dependencies
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	$(CHECK_FUZZ)
	@tests/deny.sh

.PHONY: bench
bench: build ## Prints what an ADD and an agent cost: medians and ratios, measured in one run
	cargo rustc --locked --release --example empty -- $(STATIC)
	cargo run --quiet --locked --release --example bench -- $(abspath $(RELEASE))

.PHONY: bench-doctor
bench-doctor: have-cargo prerequisites ## Prints what doctor takes on a node and on a hundred simulated ones, medians in one run
	@cargo test --quiet --locked --test doctor -- --ignored --nocapture what_doctor_takes

.PHONY: screenshots
screenshots: have-cargo prerequisites ## Takes the README's pictures of the agent's page anew, in a real browser
	SCREENSHOTS=$(CURDIR)/tests/page/screenshots cargo test --release --locked --test page -- pictures::screenshots

.PHONY: prerequisites
prerequisites:
	@tests/prerequisites.sh

.PHONY: have-cargo
have-cargo:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or later with rustup (https://rustup.rs)."; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc (one dependency, ring, contains C)."; exit 1; }
