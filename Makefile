# `make` explains the targets.  All but `help` and `clean` set up .venv first, once.
SHELL = /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup testbed images check test lint mutate chaos strangers bench bench-check fuzz machines peers library release clean force

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Debian keeps nft and iptables where ordinary users do not look.
export PATH := $(PATH):/usr/sbin:/sbin

# Paths stay relative: the folder's own may hold spaces.
READY = .venv/.ready

help: ## explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

testbed: $(READY) ## set up what is missing, then run the default matrix (with ARGS)
	.venv/bin/testbed matrix $(ARGS)

check: $(READY) lint ## run what every save is checked by: lint, unit tests, a dozen cells
	.venv/bin/pytest -q -n auto --dist worksteal tests/unit tests/quick

# Older releases cost minutes to compile: their tests run where `make peers` was called before.
test: $(READY) ## run the whole suite
	@.ci/system-packages tests || echo "==> without them, some tests are left out, and say so"
	-@$(MAKE) -s peers OLDER=
	-@.venv/bin/python -m tests.traversal.interop.build
	.venv/bin/python tests/suite.py

lint: $(READY) ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# The results are in out/mutation; ARGS="--help" explains the rest.
mutate: $(READY) ## put 300 small faults into the judging rooms, and list what no test notices
	PYTHONPATH=tests .venv/bin/python -m mutation $(ARGS)

# The table is tests/chaos/FIGURES.md; ARGS="--help" explains the rest.
chaos: $(READY) ## kill, stop and starve what labs consist of at random moments, and count verdicts
	PYTHONPATH=tests .venv/bin/python -m chaos $(ARGS)

strangers: $(READY) ## give commands 2000 mutated files each, and look for what they take badly
	PYTHONPATH=tests .venv/bin/python -m strangers $(ARGS)

bench: $(READY) ## measure the testbed against its floors and rivals
	.venv/bin/python -m testbed.bench $(ARGS)

# The baseline is out/bench-baseline.json: the first run makes it, ARGS=--keep a new one.
bench-check: $(READY) ## hold the processor time of a lab, a cell and a packet to a baseline
	.venv/bin/python -m testbed.bench.check $(ARGS)

# atheris (libFuzzer for Python) is no part of the lock: only this target needs its 35 MB.
FUZZ_SECONDS ?= 20
fuzz: $(READY) ## fuzz each parser of the traversal stack for FUZZ_SECONDS (20)
	@test -d out/fuzz/.atheris/atheris || \
	  .venv/bin/python -m pip install -q --no-deps --target out/fuzz/.atheris "atheris>=3,<4"
	PYTHONPATH=out/fuzz/.atheris:tests .venv/bin/python -m traversal.fuzz --seconds $(FUZZ_SECONDS)

machines: $(READY) ## as root: run the testbed on bare Debian releases (ARGS="quick trixie")
	.ci/machines $(ARGS)

# A toolchain that is missing is said, and costs only its peer; a build that breaks is an error.
OLDER ?= yes
peers: $(READY) ## build the stacks that are programs of their own, into out/peers
	@.ci/system-packages peers || echo "without them, some peers are left out"
	@.venv/bin/testbed build peers $(if $(OLDER),,--no-older)

images: $(READY) ## build the images of container labs (BASE names their Debian)
	.venv/bin/testbed build images

library: $(READY) ## build the traversal library alone, install it into out/library, run its tests there
	@.ci/library $(ARGS)

release: $(READY) ## check that version, changelog and tags agree, and build into out/dist
	@.ci/release

setup: $(READY) ## only set up: system packages (as root or by sudo) and .venv

clean: ## remove .venv and out/
	rm -rf .venv out

# The stamp holds this folder's path: the programs in .venv know it, and moving the
# folder breaks them.
ifneq "$(shell cat $(READY) 2>/dev/null)" "$(CURDIR)"
$(READY): force
ANEW = --clear
endif
$(READY): requirements.lock pyproject.toml
	@.ci/system-packages
	@python=$$(.ci/python) && echo "making .venv with $$python" && "$$python" -m venv $(ANEW) .venv
	@echo "installing the locked packages"
	@.venv/bin/python -m pip install -q --require-hashes -r requirements.lock
	@.venv/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@.ci/interop
	@pwd -P >$(READY)
