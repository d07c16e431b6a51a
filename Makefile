# hv: build, run, test. `make help` says what each target does.

GO       ?= go
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
DESTDIR  ?=
PREFIX   ?= /usr
FUZZTIME ?= 10m
LDFLAGS  := -s -w -X main.version=$(VERSION)
NAME     ?= demo
TESTS    ?=
FORMATS  ?= qcow2,raw
# What runs on this machine itself: all but the testbed's suite, which wants both
# processors for its own.
HERE      = $$($(GO) list ./... | grep -v /test/linux) ./testdata/guest

export CGO_ENABLED = 0

.DEFAULT_GOAL := build
.PHONY: help build run test check race bench soak fuzz iotests testbed-test stats deps guest install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binaries in bin/
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/hv ./cmd/hvctl

run: build ## build, then start a VM at once from the embedded guest; QMP on /run/vm/$(NAME).sock
	@mkdir -p /run/vm
	bin/hv -name $(NAME) -cpu host -nographic -append 'print=hello_from_the_guest_in_hv; shell'

test: deps build ## every suite, the testbed's too; installs the Debian packages it needs
	$(GO) vet ./... ./testdata/guest
	$(GO) test -timeout 40m $(HERE)
	$(GO) test -timeout 60m ./test/linux

check: deps build ## format, vet, staticcheck, and all tests with the race detector
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$fmt" || { echo "run gofmt -w on:"; echo "$$fmt"; exit 1; }
	$(GO) vet ./... ./testdata/guest
	$(GO) tool staticcheck ./... ./testdata/guest
	CGO_ENABLED=1 $(GO) test -race -timeout 60m $(HERE)
	CGO_ENABLED=1 $(GO) test -race -timeout 60m ./test/linux

testbed-test: deps build ## only what runs stock Linux guests in the testbed
	$(GO) test -timeout 60m -v ./test/linux

iotests: deps build ## QEMU's tests of its block layer with hv: TESTS="030 qcow2:041 ...", `all`, or those kept green
	$(GO) run ./test/iotests/iotrun -formats $(FORMATS) $(TESTS)

bench: deps build ## every benchmark, and hv beside Debian's QEMU
	$(GO) test -run '^$$' -bench . -benchmem ./hypervisor/... ./devices/... ./block/... ./net/... ./qmp/...
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/peer ./test/linux

soak: deps build ## the full counts behind the samples that `make test` takes; hours
	HV_SOAK=1 $(GO) test -timeout 12h -v ./test/... ./block/... ./qmp/server

fuzz: ## every fuzz target for FUZZTIME (10m) each
	test/fuzz $(FUZZTIME)

stats: ## size of the code against its budget
	$(GO) test -count 1 -run TestSizeBudget -v ./test/arch

guest: ## rebuild the embedded guest program
	$(MAKE) -C testdata/guest

deps: ## install the Debian packages that the tests use, if any is missing
	@test/deps

install: build ## bin/ and the unit files under DESTDIR, PREFIX (/usr)
	install -D -m 755 bin/hv $(DESTDIR)$(PREFIX)/bin/hv
	install -D -m 755 bin/hvctl $(DESTDIR)$(PREFIX)/bin/hvctl
	install -D -m 644 systemd/units/vm@.service $(DESTDIR)$(PREFIX)/lib/systemd/system/vm@.service
	install -D -m 644 systemd/units/vm.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/vm.conf

clean: ## remove what was built
	rm -rf bin
	$(MAKE) -C testdata/guest clean
