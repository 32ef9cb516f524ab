# SelfLink Appliance. "make help" lists what there is.
SHELL := /bin/bash
BIN   := bin/selflink
TOOLS := $(CURDIR)/.tools

# Versions of the tools that are built from source, pinned here alone.
SQLC_VERSION        := v1.31.1
STATICCHECK_VERSION := v0.8.2
GOVULNCHECK_VERSION := v1.9.0
VERSITYGW_VERSION   := v1.8.0

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Go's own -race when RACE=1; a longer limit because the detector is slow.
TESTFLAGS := $(if $(RACE),-race -timeout 30m,-timeout 15m)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: deps
deps: ## Install what building and running need (apt, as root)
	@packaging/install-deps

.PHONY: web
web: deps web/dist/.built ## Build the front-end files that the binary embeds

web/dist/.built: web/package.json web/package-lock.json $(wildcard web/*.mjs web/realtime/*.ts web/realtime/*.json) $(shell find web/dashboard/src web/dashboard/public -type f) $(wildcard web/dashboard/*.*)
	cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@

.PHONY: build
build: web ## Build bin/selflink
	go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/selflink

.PHONY: run
run: build ## Build and run on 127.0.0.1:8000 with its data in ./data
	SELFLINK_DATA_DIR="$${SELFLINK_DATA_DIR:-$(CURDIR)/data}" exec $(BIN) serve

.PHONY: test-web
test-web: web ## Run the front end's unit tests
	cd web && npm test --silent

.PHONY: test-deps
test-deps: $(TOOLS)/versitygw
	@packaging/install-deps test

.PHONY: test
test: web test-deps test-web ## Run the tests (RACE=1: with the race detector)
	VERSITYGW=$(TOOLS)/versitygw go test $(TESTFLAGS) ./...

.PHONY: race
race: ## The tests with the race detector
	$(MAKE) test RACE=1

.PHONY: fuzz
fuzz: web ## Run every fuzz target for FUZZTIME each (60s)
	@packaging/fuzz $(or $(FUZZTIME),60s)

.PHONY: lint
lint: web $(TOOLS)/staticcheck $(TOOLS)/govulncheck ## gofmt, vet, staticcheck, known vulnerabilities, file lengths
	@packaging/lint $(TOOLS)

.PHONY: sqlc
sqlc: $(TOOLS)/sqlc ## Type every queries.sql into Go
	@for f in $$(git ls-files '*/sqlc.yaml'); do $(TOOLS)/sqlc generate -f $$f || exit 1; done

.PHONY: verify
verify: sqlc build ## Fail when generated code or documents drifted from their source
	$(BIN) config docs > docs/SETTINGS.md
	@git diff --exit-code -- '*db/*.go' docs/SETTINGS.md || { echo "verify: generated files differ from their source: commit the result of make verify" >&2; exit 1; }
	@test -z "$$(git status --porcelain -- '*db/' docs/SETTINGS.md)" || { git status --porcelain -- '*db/' docs/SETTINGS.md; exit 1; }
	@echo "verify: generated files are up to date"

.PHONY: bench
bench: build ## Measure the appliance beside plain baselines, as ratios of one run
	cd appliance/bench && go run . -bin $(CURDIR)/$(BIN) $(BENCHFLAGS)

.PHONY: bench-realtime
bench-realtime: build ## Measure sockets and streams: memory, deliveries, recovery (RUNS=closed,burst)
	cd appliance/bench && go run . -bin $(CURDIR)/$(BIN) -only realtime -realtime '$(RUNS)' $(BENCHFLAGS)

.PHONY: crash
crash: build $(TOOLS)/versitygw ## Kill the process and its children KILLS times (30) and count what was lost
	VERSITYGW=$(TOOLS)/versitygw go test -tags crash -count=1 -timeout 30m -v -run '^Test(Crash|Realtime|Payments|Uploads|Reindex)$$' ./appliance/crash -args -kills=$(or $(KILLS),30) $(if $(SEED),-seed=$(SEED)) -bin=$(CURDIR)/$(BIN)

.PHONY: deb
deb: web ## Build the Debian package, dist/selflink_*.deb (ARCH=arm64: for that)
	@packaging/deb/build

.PHONY: test-deb
test-deb: web ## Install, upgrade, downgrade, remove and purge the package in a Debian root
	@packaging/test-deb

# The architecture of the image. Another one than this machine's needs
# qemu-user-static, because Debian's packages run their own programs to install.
ARCH ?= $(shell dpkg --print-architecture 2>/dev/null || go env GOARCH)

# Without cgo, so that the C library of this machine does not matter.
.PHONY: image
image: web ## Build dist/selflink-VERSION-ARCH.oci.tar, an image, without Docker or a registry
	@mkdir -p dist/cache
	CGO_ENABLED=0 GOARCH=$(ARCH) go build -trimpath -ldflags '$(LDFLAGS)' -o dist/cache/selflink-$(ARCH) ./cmd/selflink
	@ARCH=$(ARCH) packaging/container/build dist/cache/selflink-$(ARCH) '$(VERSION)' '$(COMMIT)'

.PHONY: test-image
test-image: image ## Run the image as a container does: start, stop, data kept (as root)
	@packaging/container/test dist/selflink-$(VERSION)-$(ARCH).oci.tar

.PHONY: clean
clean: ## Remove what was built (never data)
	rm -rf bin dist web/dist/* web/realtime/build web/node_modules .tools

$(TOOLS)/sqlc:
	GOBIN=$(TOOLS) go install github.com/sqlc-dev/sqlc/cmd/sqlc@$(SQLC_VERSION)

$(TOOLS)/staticcheck:
	GOBIN=$(TOOLS) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)

$(TOOLS)/govulncheck:
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

# An S3 server for the tests; nothing of it is in the binary.
$(TOOLS)/versitygw:
	GOBIN=$(TOOLS) go install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)
