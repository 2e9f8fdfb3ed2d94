# What a developer and the checks need; "make" alone lists it.
#
#   make run         build, and serve on port 6379 with the data in ./data
#   make build       bin/larder
#   make test        everything that is checked: lint, unit, race, integration
#   make bench       the benchmark table, beside redis-server (BENCH="-quick" and so on)
#   make fuzz T=60s  every fuzz target in turn, for that long each
#   make jepsen T=30m SEED=7   faults of all kinds and moves for that long; what clients saw is checked (docs/consistency.md)

GO    ?= go
T     ?= 60s
BENCH ?=
SEED  ?=

# Packages with locks or atomics of their own run again under the race detector; they are found, not listed.
RACE_FORMAT = {{$$path := .ImportPath}}{{range .Imports}}{{if eq . "sync" "sync/atomic"}}{{$$path}}{{"\n"}}{{end}}{{end}}

.PHONY: help run build test tools lint unit race integration bench fuzz jepsen clean

help:
	@sed -n 's/^#  \( make\)/ \1/p' Makefile

run: build
	@mkdir -p data
	exec bin/larder server --dir ./data

build:
	$(GO) build -o bin/larder ./cmd/larder

test: tools lint unit race integration

# Debian packages that the tests use; does nothing when they are there.
tools:
	@.ci/tools

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test .

unit:
	$(GO) test -timeout 10m $$($(GO) list ./... | grep -v /integration)

race:
	@if [ -z "$$CI" ] && ! command -v $$($(GO) env CC) >/dev/null; then \
		echo "no C compiler: the race detector's run is left out"; \
	else \
		set -ex; CGO_ENABLED=1 $(GO) test -race -timeout 15m \
			$$($(GO) list -f '$(RACE_FORMAT)' ./... | sort -u | grep -v /integration); \
		LARDER_RACE=1 LARDER_STEPS=10000 $(GO) test -count=1 -timeout 10m \
			-run 'KillUnderLoad|Random|ClientLibrary|Stops' ./integration; \
		LARDER_RACE=1 $(GO) test -race -count=1 -timeout 10m -run 'HistoryOf' ./integration/history; \
	fi

# What the processes of a test that failed were doing is kept in bin/_artifacts.
integration:
	mkdir -p bin
	$(GO) test -count=1 -timeout 12m -artifacts -outputdir $(CURDIR)/bin ./integration/...

bench:
	$(GO) run ./benchmarks $(BENCH)

fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$package); \
		for target in $$(echo "$$targets" | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(T) $$package; \
		done; \
	done

# A history that went wrong is kept in bin/jepsen: operations, faults, and a picture of each key that has no order.
jepsen:
	LARDER_HISTORY_TIME=$(T) LARDER_HISTORY_SEED=$(SEED) LARDER_HISTORY_DIR=$(CURDIR)/bin/jepsen \
		$(GO) test -count=1 -timeout 0 -v -run '^TestLongHistory$$' ./integration/history

clean:
	rm -rf bin
