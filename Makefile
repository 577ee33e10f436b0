# The recipes of this repository. `make help` lists them.
#
# What links wasmtime is built once, in release, and always as one package set (HEAVY), so that cargo never builds the
# same library twice for the sake of a feature. Cores, the SDK and the plugins' own logic (LIGHT) test in the dev profile.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := build

CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin

PLUGINS := $(notdir $(patsubst %/Cargo.toml,%,$(wildcard plugins/*/Cargo.toml)))
GUESTS := $(patsubst %,guest-%,$(notdir $(patsubst %/Cargo.toml,%,$(wildcard tests/guests/*/Cargo.toml))))
CORES := $(patsubst %,mediahost-%,$(notdir $(patsubst %/Cargo.toml,%,$(wildcard host/core/*/Cargo.toml))))
SHELLS := $(patsubst %,mediahost-%,$(notdir $(patsubst %/Cargo.toml,%,$(wildcard host/io/*/Cargo.toml host/service/*/Cargo.toml))))
# Examples are projects of their own, but for one that would build the engine twice: a plugin has a plugin.json, and the
# others are programs.
EMBEDDING := embedded-player
EXAMPLES := $(filter-out examples/$(EMBEDDING),$(patsubst %/Cargo.toml,%,$(wildcard examples/*/Cargo.toml)))
EXAMPLE_PLUGINS := $(patsubst %/plugin.json,%,$(wildcard examples/*/plugin.json))
EXAMPLE_PROGRAMS := $(filter-out $(EXAMPLE_PLUGINS),$(EXAMPLES))

LIGHT := $(addprefix -p ,$(CORES) mediahost-plugin-sdk mediahost-client $(PLUGINS))
HEAVY := $(addprefix -p ,$(SHELLS) mediahost $(EMBEDDING))
# Starts the binary and links none of it, so it stands outside the set.
E2E := -p mediahost-e2e

# Components have a target folder of their own: they build while nothing else waits for the lock, and `cargo clean` of
# the one leaves the other.
WASM := wasm32-wasip2
GUEST_DIR := target/guest
GUEST_BUILD := $(CARGO) build --profile plugin --target $(WASM) --target-dir $(GUEST_DIR)

TIMES := target/suite-seconds

define newline


endef

.PHONY: help
help: ## this list
	@printf 'usage: make [recipe]          plain `make` is `make build`\n\n'
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-14s%s\n' "$$name" "$$text"; done

## Building

.PHONY: run
run: build ## build everything and start the host; needs rustup, a C compiler and make
	target/release/mediahost serve

.PHONY: build
build: plugins ## target/release/mediahost with the first-party plugins inside
	$(CARGO) build --release $(HEAVY)

.PHONY: plugins
plugins: target ## the first-party plugins: target/plugins/<id>.wasm
	$(GUEST_BUILD) $(addprefix -p ,$(PLUGINS))
	@$(call collect,target/plugins,$(PLUGINS))

.PHONY: guests
guests: target ## the components that the tests load: target/guests/<id>.wasm, target/example-plugins/<id>.wasm
	@mkdir -p target/guests
	$(if $(GUESTS),$(GUEST_BUILD) $(addprefix -p ,$(GUESTS)))
	@$(call collect,target/guests,$(GUESTS))
	$(foreach example,$(EXAMPLE_PLUGINS),$(CARGO) build --release --target $(WASM) --manifest-path $(example)/Cargo.toml --target-dir target/examples$(newline))
	@mkdir -p target/example-plugins
	@for id in $(notdir $(EXAMPLE_PLUGINS)); do \
	  cp "target/examples/$(WASM)/release/$${id//-/_}.wasm" "target/example-plugins/$$id.wasm"; \
	done

.PHONY: programs
programs: ## the example programs: target/examples/release/<name>
	$(foreach example,$(EXAMPLE_PROGRAMS),$(CARGO) build -q --release --manifest-path $(example)/Cargo.toml --target-dir target/examples$(newline))

# collect <folder> <packages>: copies each component under its id, and only when it changed, so that what embeds or
# watches the folder is not disturbed; removes components whose package is gone.
define collect
mkdir -p $(1); \
for id in $(2); do \
  made="$(GUEST_DIR)/$(WASM)/plugin/$${id//-/_}.wasm"; \
  cmp -s "$$made" "$(1)/$$id.wasm" || { cp "$$made" "$(1)/$$id.wasm.new" && mv "$(1)/$$id.wasm.new" "$(1)/$$id.wasm"; }; \
done; \
for file in $(1)/*.wasm; do \
  id=$$(basename "$$file" .wasm); \
  case " $(2) " in *" $$id "*) ;; *) rm -f "$$file" ;; esac; \
done
endef

# rustup may be told not to install what rust-toolchain.toml asks for, so it is asked here.
.PHONY: target
target:
	@if command -v rustup >/dev/null; then \
	  rustup target list --installed 2>/dev/null | grep -qx $(WASM) || { \
	    rustup toolchain list | grep -q "$$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)" || rustup toolchain install; \
	    rustup target add $(WASM); }; \
	elif [ ! -d "$$(rustc --print sysroot)/lib/rustlib/$(WASM)" ]; then \
	  echo "make: plugins need Rust's $(WASM) target, and there is no rustup here to add it" >&2; exit 1; \
	fi

## Testing

# suite <name> <command>: runs it, notes its seconds, and says the name of the one that failed.
define suite
@printf '\n== %s\n' '$(1)'; start=$$(date +%s); \
{ $(2); } || { printf '\nmake: the suite "%s" failed\n' '$(1)' >&2; exit 1; }; \
printf '%s|%s\n' '$(1)' $$(( $$(date +%s) - start )) >> $(TIMES)
endef

define times
@printf '\n%-34s%8s\n' suite seconds; \
awk -F'|' '{ printf "%-34s%8d\n", $$1, $$2; all += $$2; if ($$1 ~ /^build/) built += $$2 } \
  END { printf "%-34s%8d\n%-34s%8d\n", "all building", built, "all testing", all - built }' $(TIMES)
endef

.PHONY: test
test: tools ## every test; sets up what they need and prints the seconds of each suite
	@mkdir -p target; : > $(TIMES)
	$(call suite,build tidy,$(CARGO) test -q -p mediahost-tidy --no-run)
	$(call suite,tidy,$(CARGO) test -q -p mediahost-tidy)
	$(call suite,build cores plugins sdk,$(CARGO) test -q $(LIGHT) --no-run)
	$(call suite,cores plugins sdk,$(CARGO) test -q $(LIGHT))
	$(call suite,build components,$(MAKE) plugins guests)
	$(call suite,build example programs,$(MAKE) programs)
	$(call suite,build host,$(CARGO) build --release $(HEAVY))
	$(call suite,build host tests,$(CARGO) test -q --release $(HEAVY) --no-run && $(CARGO) test -q --release $(E2E) --no-run)
	$(call suite,host,$(CARGO) test -q --release $(HEAVY))
	$(foreach example,$(EXAMPLE_PLUGINS),$(call suite,example $(notdir $(example)),$(CARGO) test -q --manifest-path $(example)/Cargo.toml --target-dir target/examples)$(newline))
	$(foreach example,$(EXAMPLE_PROGRAMS),$(call suite,example $(notdir $(example)),$(CARGO) test -q --release --manifest-path $(example)/Cargo.toml --target-dir target/examples)$(newline))
	$(call suite,end to end,$(CARGO) test -q --release $(E2E))
	$(times)

.PHONY: test-long
test-long: tools plugins guests programs ## the same properties and scenarios over many more seeds
	PROPTEST_CASES=20000 $(CARGO) test --release $(LIGHT)
	$(CARGO) build --release $(HEAVY)
	PROPTEST_CASES=2000 $(CARGO) test --release $(HEAVY)
	E2E_ROUNDS=2000 $(CARGO) test --release $(E2E)

BENCHES := $(wildcard host/*/*/benches/*.rs host/node/benches/*.rs plugins/*/benches/*.rs tests/*/benches/*.rs)

.PHONY: bench
bench: tools build guests ## the benches, each with a printed table
	@$(if $(BENCHES),,echo "make: there are no benches" >&2; exit 1)
	@for file in $(BENCHES); do \
	  name=$$(basename "$$file" .rs); manifest=$$(dirname "$$(dirname "$$file")")/Cargo.toml; \
	  printf '\n== %s\n' "$$file"; $(CARGO) bench -q --manifest-path "$$manifest" --bench "$$name"; \
	done

.PHONY: coverage
coverage: tools plugins guests programs ## line coverage of host/ and plugins/; fails below 70 %
	@.ci/coverage "$(LIGHT)" "$(HEAVY)" "$(E2E)"

.PHONY: lint
lint: plugins ## formatting, clippy and, where cargo-deny is installed, licences and advisories
	$(CARGO) fmt --all --check
	$(CARGO) clippy -q -p mediahost-tidy $(LIGHT) --all-targets -- -D warnings
	$(CARGO) clippy -q --release $(HEAVY) $(E2E) --all-targets -- -D warnings
	$(CARGO) clippy -q --profile plugin --target $(WASM) --target-dir $(GUEST_DIR) $(addprefix -p ,$(PLUGINS) $(GUESTS)) -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check; else echo "lint: cargo-deny is not installed, so deny.toml was not checked"; fi

.PHONY: cross
cross: plugins ## whether the host compiles for Windows, macOS, iOS, Android and 32 bits: checked, not linked, not run
	@.ci/cross "$(HEAVY)"

.PHONY: interpreter
interpreter: plugins guests ## the tests of the plugin platform with plugins on the interpreter instead of the processor
	$(CARGO) test --release -p mediahost-wasm --features interpreter

TOOLS := ffmpeg nginx curl chromium mpv vlc genisoimage xorriso bd_list_titles dvdauthor lsdvd zip python3 mkvmerge
# The packages of a tool that is not a package of its own name: VLC without its windows.
PACKAGES_vlc := vlc-bin vlc-plugin-base
PACKAGES_bd_list_titles := libbluray-bin
PACKAGES_mkvmerge := mkvtoolnix

.PHONY: tools
tools: ## what the tests need and the machine lacks, by apt-get
	@missing=(); $(foreach tool,$(TOOLS),command -v $(tool) >/dev/null || missing+=($(or $(PACKAGES_$(tool)),$(tool)));) \
	[ $${#missing[@]} -eq 0 ] && exit 0; \
	echo "tools: missing $${missing[*]}"; \
	if ! command -v apt-get >/dev/null; then echo "tools: there is no apt-get here; install them by hand and try again" >&2; exit 1; fi; \
	as_root=(); if [ "$$(id -u)" -ne 0 ]; then \
	  sudo -n true 2>/dev/null || { echo "tools: run once as root: apt-get install $${missing[*]}" >&2; exit 1; }; as_root=(sudo -n); fi; \
	"$${as_root[@]}" apt-get update -q; \
	DEBIAN_FRONTEND=noninteractive "$${as_root[@]}" apt-get install -q -y --no-install-recommends "$${missing[@]}"

.PHONY: clean
clean: ## everything that was built
	$(CARGO) clean
	rm -rf examples/*/target
