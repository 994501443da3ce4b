# Everything a developer or CI does with Tercet. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help
help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

.PHONY: demo
demo: ## Build and start Tercet before a simulated upstream, with sample tenants and traffic
	@scripts/build-prerequisites
	@$(CARGO) build --release --quiet
	@./target/release/tercet demo

.PHONY: test
test: ## Install what tests need and run every test
	@scripts/test

.PHONY: check
check: ## Format, lints, documentation, and what it is built from against deny.toml
	scripts/supply-chain check
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

.PHONY: fuzz
fuzz: ## Fuzz each target for SECONDS_EACH (120) seconds one after the other, on the pinned toolchain (needs a C++ compiler)
	@scripts/fuzz $(or $(SECONDS_EACH),120)

.PHONY: deny
deny: ## The same by cargo-deny, with the advisory database (both from GitHub and crates.io)
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	$(CARGO) deny check

.PHONY: sbom
sbom: ## Write the bill of materials, target/tercet.cdx.json (CycloneDX)
	@mkdir -p target
	@scripts/supply-chain sbom > target/tercet.cdx.json
	@echo target/tercet.cdx.json

.PHONY: bench
bench: ## Measure the overhead over a direct connection, and the parts
	$(CARGO) bench

.PHONY: instructions
instructions: ## Count instructions and allocations of each step (needs valgrind), against what is known
	@scripts/instructions

.PHONY: bench-million
bench-million: ## Measure a start and an audit with a million records in the journal (1.2 GB of disk)
	$(CARGO) bench --bench million

.PHONY: soak
soak: ## Kill the gateway a hundred times under load and add everything up
	TERCET_ROUNDS=100 $(CARGO) test --test crash rounds_ -- --nocapture

.PHONY: soak-hour
soak-hour: ## Mixed traffic with random faults for SOAK_SECONDS (3600): memory and descriptors flat, sums equal
	TERCET_SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) $(CARGO) test --release --test soak -- --nocapture

.PHONY: simulate
simulate: ## Play SEEDS (10000) of the deterministic simulation: faults of network, disk and process, everything added up
	TERCET_SEEDS=$(or $(SEEDS),10000) $(CARGO) test --config 'profile.dev.package.tercet.opt-level=1' \
		--lib simulation::seeds -- --nocapture

.PHONY: loom
loom: ## Try every order in which threads may take from the counters and end (builds all anew, in target/loom)
	LOOM_MAX_PREEMPTIONS=3 RUSTFLAGS="--cfg tercet_loom" CARGO_TARGET_DIR=target/loom \
		$(CARGO) test --lib interleavings -- --nocapture

.PHONY: mutants
mutants: ## Try the unit tests on each mutant of limits, budgets, counters, journal and cache key (needs python3; fails below 90 %)
	@command -v cargo-mutants >/dev/null || $(CARGO) install cargo-mutants --locked
	@scripts/mutants

.PHONY: day
day: ## Play a day of agents before the simulated upstream and print what it billed
	$(CARGO) test --quiet --test day -- --nocapture

.PHONY: classifier
classifier: ## Train the classifier anew from DATA=folder and hold it against the weights in the repository
	@scripts/classifier/again $(DATA)

.PHONY: trained
trained: ## Build target/trained/tercet, laid out by what requests run: up to two fifths less processor time (needs python3, llvm-profdata; better with llvm-bolt)
	@scripts/trained

.PHONY: image
image: ## Build the container image (needs docker or buildah)
	@scripts/build-image

.PHONY: clean
clean: ## Remove build output and the clients' cache
	$(CARGO) clean
	rm -rf .cache
