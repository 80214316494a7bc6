# proxyfleet. `make help` lists what is here; `make run` and `make test` need Go
# and make only.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Every module but that of the tools, which only pins what the build calls.
MODULES := $(filter-out deployments/tools,$(patsubst %/go.mod,%,$(wildcard */go.mod deployments/*/go.mod)))

# gin pulls a MessagePack codec of 6 MB into a binary unless told not to.
TAGS    := nomsgpack
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := bin/tools/golangci-lint-$(GOLANGCI_VERSION)
PROTO_TOOLS      := bin/tools/buf bin/tools/protoc-gen-go bin/tools/protoc-gen-go-grpc
TEST_TOOLS       := bin/tools/etcd bin/tools/h2spec bin/tools/testsummary

FUZZTIME  ?= 5m
BENCHTIME ?= 200ms
BENCH     ?= .

# What the tests and bench-rivals call besides Go, by Debian's names.
DEBIAN_PACKAGES := curl iproute2 patch nginx haproxy wrk nghttp2-client testssl.sh

workspace_packages = $(foreach m,$(1),./$(m)/...)

.PHONY: build
build: ## build bin/proxy-controlplane, bin/proxy-dataplane and bin/proxyctl
	go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ \
		./controlplane/cmd/proxy-controlplane \
		./dataplane/cmd/proxy-dataplane \
		./cli/cmd/proxyctl

.PHONY: run
run: build ## build, then start the demo fleet (Ctrl-C ends it); ARGS go to `proxyctl demo`
	@bin/proxyctl demo $(ARGS)

.PHONY: test
test: build $(TEST_TOOLS) ## run every test: the modules, under the race detector where it can find something, then the binaries end to end
	@deployments/tools/test.sh '$(TAGS)'

.PHONY: lint
lint: lint-proto lint-go lint-tidy lint-cross ## check everything that is not a test (the lint-… targets one after another)

.PHONY: lint-go
lint-go: $(GOLANGCI) ## go vet, golangci-lint and the gofumpt format
	go vet -tags $(TAGS) $(call workspace_packages,$(MODULES) deployments/tools)
	$(GOLANGCI) run --build-tags $(TAGS) $(call workspace_packages,$(MODULES) deployments/tools)
	$(GOLANGCI) fmt --diff

.PHONY: lint-proto
lint-proto: $(PROTO_TOOLS) bin/tools/schemadoc ## buf lint, and that the generated code and reference are what the schema gives
	bin/tools/buf lint
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	bin/tools/buf generate -o "$$tmp" && \
	bin/tools/buf build -o - | bin/tools/schemadoc >"$$tmp/RESOURCES.md" && \
	{ diff -u docs/RESOURCES.md "$$tmp/RESOURCES.md" >&2 || { echo "docs/RESOURCES.md is not what the schema gives: run make generate" >&2; exit 1; }; } && \
	(cd "$$tmp" && find . -name '*.pb.go') | while read -r f; do \
		diff -u "$$f" "$$tmp/$$f" >&2 || { echo "$$f is not what the schema gives: run make generate" >&2; exit 1; }; \
	done

.PHONY: lint-tidy
lint-tidy: ## that every go.mod and go.sum is tidy
	@for m in $(MODULES) deployments/tools; do \
		echo "go mod tidy -diff in $$m"; \
		(cd $$m && GOWORK=off go mod tidy -diff) || { echo "$$m/go.mod is not tidy: run make tidy" >&2; exit 1; }; \
	done

.PHONY: lint-cross
lint-cross: ## that each module builds alone, on every system and processor that we promise
	@for p in $(PLATFORMS); do for m in $(MODULES); do \
		echo "build $$m for $$p"; \
		(cd $$m && GOWORK=off CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -pgo=off -tags $(TAGS) -o /dev/null ./...); \
	done; done

.PHONY: generate
generate: $(PROTO_TOOLS) bin/tools/schemadoc ## write the code and the reference that the protobuf schema gives
	bin/tools/buf generate
	bin/tools/buf build -o - | bin/tools/schemadoc >docs/RESOURCES.md

.PHONY: fmt
fmt: $(GOLANGCI) ## format the Go code (gofumpt)
	$(GOLANGCI) fmt

.PHONY: tidy
tidy: ## tidy every go.mod
	@for m in $(MODULES) deployments/tools; do (cd $$m && GOWORK=off go mod tidy); done

.PHONY: bench
bench: ## run the micro benchmarks, shortly; BENCH=<regexp> BENCHTIME=<time> choose
	go test -tags $(TAGS) -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem \
		$(call workspace_packages,$(filter-out deployments/%,$(MODULES))) | grep -v 'no test files'

# BENCHFLAGS are added to the driver's flags (bin/bench/bench --help).
.PHONY: bench-tools
bench-tools: build
	go build -trimpath -o bin/bench/ ./deployments/bench ./deployments/bench/goproxy

.PHONY: bench-rivals
bench-rivals: bench-tools ## measure beside nginx, HAProxy, Caddy and Go's proxies (4 h and more, quiet machine); write docs/PERFORMANCE.md
	bin/bench/bench --check --page docs/PERFORMANCE.md --json docs/PERFORMANCE.json $(BENCHFLAGS)

.PHONY: bench-rivals-short
bench-rivals-short: bench-tools ## the same in 15 minutes, to see that it works; its page goes to bin/bench
	bin/bench/bench --rounds 2 --round 1500ms --warmup 500ms --settle 2s --idle-to 4000 --malloc-requests 100000 \
		--page bin/bench/PERFORMANCE.md --json bin/bench/PERFORMANCE.json $(BENCHFLAGS)

PROFILE_SECONDS ?= 15

.PHONY: profile
profile: build ## write the profile by which the compiler optimises the node: run it after changes of the request path, on a quiet machine
	deployments/tools/profile.sh $(PROFILE_SECONDS) dataplane/cmd/proxy-dataplane/default.pgo

SOAK         ?= 10m
DIFFERENTIAL ?= 1000000

.PHONY: soak
soak: build ## send mixed traffic with a push every second for SOAK=10m; memory, descriptors and goroutines are watched
	SOAK=$(SOAK) go test -count=1 -v -timeout 0 -run MixedTraffic ./deployments/e2e

VIP_REPEATS ?= 20

.PHONY: vip-repeats
vip-repeats: build ## end the holder of a virtual IP in every way, VIP_REPEATS=20 times each; median and worst are logged
	VIP_REPEATS=$(VIP_REPEATS) go test -count=1 -v -timeout 0 -run 'AVIPMovesWhenItsHolderIsKilled|AStoppedHolderLosesItsVIP|APlannedEndHandsTheVIPOver' ./deployments/e2e

.PHONY: lateness
lateness: ## hold loops to 5 ms at p99.9 under 2,000 handshakes a second and a push of 100,000 routes (quiet machine)
	LATENESS=full go test -count=1 -v -timeout 0 -run TestLoopsAreNotLate ./dataplane/evloop

.PHONY: testssl
testssl: build ## look at an HTTPS listener with all checks of testssl.sh: nothing above low
	TESTSSL=all go test -count=1 -v -timeout 0 -run TestTestsslFindsNothingAboveLow ./deployments/e2e

FLOODS ?= 100000
FAULTS ?= 100

.PHONY: floods
floods: build ## attack a node in every way we know with FLOODS=100000 frames each, by TCP and TLS, on listeners with faultsPerClient: FAULTS=100 (0: none, and no bound of processor time and waiting is held); what that costs it and others is logged as a table, and written to PAGE=docs/FLOODS.md
	FLOODS=$(FLOODS) FLOODS_FAULTS=$(FAULTS) FLOODS_PAGE=$(abspath $(PAGE)) go test -count=1 -v -timeout 0 -run 'FloodsAreEndedCountedAndCheap|SlowClientsAreEnded|BeyondAClientsShare' ./deployments/e2e

.PHONY: differential
differential: ## compare DIFFERENTIAL=1000000 generated requests with net/http
	DIFFERENTIAL=$(DIFFERENTIAL) go test -count=1 -v -timeout 0 -run ReadAsNetHTTP ./dataplane/http1

.PHONY: fuzz
fuzz: ## fuzz every fuzz target, FUZZTIME=5m each
	@deployments/tools/fuzz.sh '$(TAGS)' '$(FUZZTIME)' $(MODULES)

.PHONY: fuzz-smoke
fuzz-smoke: ## fuzz every fuzz target for 10 seconds
	@deployments/tools/fuzz.sh '$(TAGS)' 10s $(MODULES)

.PHONY: deps
deps: $(TEST_TOOLS) ## install the Debian packages that tests call (root; elsewhere it says what is missing), and build the pinned tools that they use
	@deployments/tools/debian.sh $(DEBIAN_PACKAGES)

.PHONY: tools
tools: $(PROTO_TOOLS) $(TEST_TOOLS) $(GOLANGCI) ## build the pinned tools into bin/tools

# Tools are built alone (GOWORK=off), so that their dependencies never move ours.
# Without their paths: what ours and theirs both need is compiled once.
tool_build = cd deployments/tools && GOWORK=off go build -trimpath -o $(CURDIR)/$@

bin/tools/buf: deployments/tools/go.mod
	$(tool_build) github.com/bufbuild/buf/cmd/buf

bin/tools/protoc-gen-go: deployments/tools/go.mod
	$(tool_build) google.golang.org/protobuf/cmd/protoc-gen-go

bin/tools/protoc-gen-go-grpc: deployments/tools/go.mod
	$(tool_build) google.golang.org/grpc/cmd/protoc-gen-go-grpc

bin/tools/etcd: deployments/tools/go.mod
	$(tool_build) go.etcd.io/etcd/server/v3

bin/tools/etcdctl: deployments/tools/go.mod
	$(tool_build) go.etcd.io/etcd/etcdctl/v3

bin/tools/h2spec: deployments/tools/go.mod
	$(tool_build) github.com/summerwind/h2spec/cmd/h2spec

bin/tools/schemadoc: deployments/tools/go.mod $(wildcard deployments/tools/schemadoc/*.go proto/fleet/v1/*.go)
	$(tool_build) ./schemadoc

bin/tools/testsummary: deployments/tools/go.mod $(wildcard deployments/tools/testsummary/*.go)
	$(tool_build) ./testsummary

# golangci-lint stays out of deployments/tools: its requirements would raise the
# versions of everybody else there.
$(GOLANGCI):
	GOBIN=$(CURDIR)/bin/tools GOWORK=off go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/tools/golangci-lint $@

.PHONY: clean
clean: ## remove what was built (bin) and what tests left behind
	rm -rf bin deployments/e2e/artifacts

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
