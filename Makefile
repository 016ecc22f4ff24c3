# `make help` lists the targets. The two that a newcomer needs: `make run` and `make test`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

MODULES := schemas pipelines services tools
# The packages that decide: no clock, no I/O, and tests for nearly every line.
PURE := schemas/money pipelines/intake pipelines/join pipelines/calendar pipelines/hop pipelines/profile
COVER_FLOOR := 90
FUZZTIME ?= 10s
ARGS ?=

# What the programs call themselves: the tag, or the commit, and whether files differ.
RELEASE ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X settlewatch/services/telemetry.release=$(RELEASE)

CACHE := $(CURDIR)/.cache
TOOLS := $(CACHE)/tools
# What a test run needs besides Go is found, or fetched, before it starts.
SAY = @printf '\n== %s\n'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  make run ARGS="--payments 100000 --seed 7 --once" passes flags to the demo\n'

## --- Run

.PHONY: build
build: ## Build all programs into bin/
	$(SAY) 'building the programs into bin/ (the first time Go fetches modules; a minute or two)'
	@mkdir -p bin
	@for module in services tools; do GOWORK=off go -C $$module build -ldflags '$(LDFLAGS)' -o ../bin/ ./...; done
	@ls bin | sed 's/^/   bin\//'

.PHONY: run
run: build ## Build, start the whole stack on this machine and play the demo (ARGS="…")
	$(SAY) 'starting the demo (Ctrl-C ends it)'
	@exec bin/settlewatch demo $(ARGS)

## --- Test

.PHONY: test
test: build servers ## Test everything: all modules, each on its own, and the coverage floor
	$(SAY) 'the modules together (go.work): vet'
	@go vet work
	@mkdir -p $(CACHE)
	@rm -f $(CACHE)/test.log
	@failed=''; for module in $(MODULES); do \
		printf '\n== module %s on its own (GOWORK=off): build, then test\n' $$module; \
		GOWORK=off go -C $$module build ./...; \
		GOWORK=off SETTLEWATCH_BIN=$(CURDIR)/bin go -C $$module test -cover -timeout 20m ./... 2>&1 \
			| sed -e '/\[no test files\]/d' -e '/coverage: 0.0% of statements$$/d' | tee -a $(CACHE)/test.log \
			|| failed="$$failed $$module"; \
	done; \
	if [[ -n "$$failed" ]]; then printf '\nfailed:%s\n' "$$failed"; exit 1; fi
	$(SAY) 'coverage of the packages that decide (floor $(COVER_FLOOR) %)'
	@.ci/coverage-floor $(COVER_FLOOR) $(CACHE)/test.log $(PURE)

.PHONY: servers
servers: ## Show which servers the tests will use, and install what is missing where that is possible
	$(SAY) 'servers for the tests'
	@.ci/servers

.PHONY: cover
cover: ## Coverage of the pure packages alone; fails under the floor
	$(SAY) 'coverage of the packages that decide (floor $(COVER_FLOOR) %)'
	@mkdir -p $(CACHE)
	@go test -cover $(PURE:%=./%) | tee $(CACHE)/cover.log
	@.ci/coverage-floor $(COVER_FLOOR) $(CACHE)/cover.log $(PURE)

.PHONY: race
race: ## The packages with goroutines of their own, under the race detector
	$(SAY) 'race detector (needs a C compiler)'
	@go test -race -short -timeout 15m ./pipelines/stage/... ./pipelines/hop/... ./services/...

.PHONY: faults
faults: build ## Break it on real servers, in every way on the list (FAULT=11 RUNS=20; else all, 5 runs each)
	$(SAY) 'faults on Kafka, Redis and ClickHouse'
	@exec bin/settlewatch faults $(if $(FAULT),--fault $(FAULT)) --runs $(or $(RUNS),5) $(ARGS)

.PHONY: faults-quick
faults-quick: build ## The quick half of the faults, one run each
	$(SAY) 'the quick half of the faults'
	@exec bin/settlewatch faults --quick $(ARGS)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	$(SAY) 'fuzzing, $(FUZZTIME) each'
	@.ci/fuzz $(FUZZTIME)

## --- Measure

.PHONY: bench
bench: build ## Measure the pipeline beside Kafka Streams and Flink (ARGS="--quick": the pipeline alone, a minute)
	$(SAY) 'measuring on real servers (Ctrl-C ends it)'
	@exec bin/settlewatch bench $(ARGS)

.PHONY: bench-compare
bench-compare: build $(TOOLS)/benchstat ## Measure another revision and this tree in turns: make bench-compare BASE=main~5
	$(SAY) 'measuring $(BASE) and this tree in turns'
	@PATH="$(TOOLS):$$PATH" exec bin/settlewatch bench revisions --base '$(BASE)' $(ARGS)

.PHONY: capacity-doc
capacity-doc: build ## Renew docs/capacity.md (COSTS="bench.json scale.json" ON="date, machine": with figures measured anew)
	$(SAY) 'computing capacity'
	@bin/settlewatch capacity --costs tools/capacity/costs.yaml $(COSTS:%=--costs-from '%') $(if $(ON),--on '$(ON)') \
		--save-costs tools/capacity/costs.yaml --update docs/capacity.md

.PHONY: bench-micro
bench-micro: ## Run the Go benchmarks
	$(SAY) 'benchmarks'
	@for module in $(MODULES); do go -C $$module test -run '^$$' -bench . -benchmem ./... | sed '/no test files/d'; done

$(TOOLS)/benchstat: tools/pinned/benchstat/go.mod
	$(SAY) 'installing benchstat'
	@mkdir -p $(TOOLS)
	@GOBIN=$(TOOLS) GOWORK=off go -C tools/pinned/benchstat install tool

## --- Lint and generate

.PHONY: tools
tools: $(TOOLS)/.installed ## Install the pinned linters and generators into .cache/tools

$(TOOLS)/.installed: tools/pinned/go.mod tools/pinned/protoc/go.mod
	$(SAY) 'installing the pinned linters and generators (the first time: 2 to 4 minutes, 8 seconds after that)'
	@mkdir -p $(TOOLS)
	@GOBIN=$(TOOLS) GOWORK=off go -C tools/pinned/protoc install tool
	@GOBIN=$(TOOLS) GOWORK=off go -C tools/pinned install tool
	@touch $@

$(CACHE)/asyncapi/.installed: tools/asyncapi/package.json tools/asyncapi/package-lock.json tools/asyncapi/check.mjs
	$(SAY) 'installing the AsyncAPI parser (about 10 seconds)'
	@mkdir -p $(CACHE)/asyncapi
	@cp tools/asyncapi/package.json tools/asyncapi/package-lock.json tools/asyncapi/check.mjs $(CACHE)/asyncapi/
	@npm ci --prefix $(CACHE)/asyncapi --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(TOOLS)/helm: tools/pinned/helm/go.mod
	$(SAY) 'installing helm (the first time: 2 to 3 minutes)'
	@mkdir -p $(TOOLS)
	@GOBIN=$(TOOLS) GOWORK=off go -C tools/pinned/helm install tool
	@touch $@

$(CACHE)/deploy/.installed: tools/pinned/deploy/requirements.txt tools/pinned/deploy/package.json tools/pinned/deploy/package-lock.json
	$(SAY) 'installing the validators of container, compose and cluster files (20 to 40 seconds)'
	@rm -rf $(CACHE)/deploy && mkdir -p $(CACHE)/deploy
	@python3 -m pip install --quiet --no-input --root-user-action=ignore --disable-pip-version-check \
		--target $(CACHE)/deploy/python --requirement tools/pinned/deploy/requirements.txt
	@cp tools/pinned/deploy/package.json tools/pinned/deploy/package-lock.json $(CACHE)/deploy/
	@npm ci --prefix $(CACHE)/deploy --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: deploy-check
deploy-check: $(TOOLS)/helm $(CACHE)/deploy/.installed ## Check deploy/: container file, compose file, chart, rules, dashboards
	$(SAY) 'deploy: container file, compose file, chart'
	@.ci/deploy-check $(TOOLS) $(CACHE)/deploy
	$(SAY) 'deploy: alert rules and dashboards (the first time Go fetches the PromQL parser)'
	@GOWORK=off go -C tools/deploycheck/expressions test -count=1 ./...
	$(SAY) 'deploy: names of settings, flags, secrets, ports'
	@GOWORK=off go -C tools test -count=1 ./deploycheck

.PHONY: lint
lint: $(TOOLS)/.installed $(CACHE)/asyncapi/.installed deploy-check ## Go, protobuf and AsyncAPI linters; generated code and schemas are current
	$(SAY) 'golangci-lint'
	@$(TOOLS)/golangci-lint run --max-issues-per-linter 0 --max-same-issues 0 $(MODULES:%=./%/...)
	$(SAY) 'go.mod and go.sum are tidy'
	@for module in $(MODULES); do GOWORK=off go -C $$module mod tidy -diff; done
	$(SAY) 'the import rules can fail'
	@.ci/planted-violations
	$(SAY) 'protobuf: lint, no breaking change since the baseline, generated code is current'
	@$(TOOLS)/buf lint
	@$(TOOLS)/buf breaking --against schemas/proto/baseline.binpb
	@.ci/generated-is-current $(TOOLS)
	$(SAY) 'AsyncAPI'
	@node $(CACHE)/asyncapi/check.mjs schemas/asyncapi.yaml
	$(SAY) 'links'
	@.ci/links

.PHONY: format
format: $(TOOLS)/.installed ## Format all Go code
	@$(TOOLS)/golangci-lint fmt $(MODULES:%=./%/...)

.PHONY: tidy
tidy: ## go mod tidy in every module
	@for module in $(MODULES); do GOWORK=off go -C $$module mod tidy; done

.PHONY: generate
generate: $(TOOLS)/.installed ## Generate Go code from schemas/proto
	$(SAY) 'generating from schemas/proto'
	@PATH="$(TOOLS):$$PATH" buf generate

.PHONY: baseline
baseline: $(TOOLS)/.installed ## At a release only: what `buf breaking` compares with from now on
	@$(TOOLS)/buf build -o schemas/proto/baseline.binpb

.PHONY: clean
clean: ## Remove what was built and fetched into this folder
	@rm -rf bin .cache
	@printf 'removed bin/ and .cache/; servers that were fetched stay in the user cache\n'
