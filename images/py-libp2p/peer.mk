# Installs py-libp2p's release in a venv of its own, from the lock:
# `make -C images/py-libp2p -f peer.mk OUT=...`; `testbed build peers` does it.
OUT ?= ../../out/peers/py-libp2p
PYTHON ?= python3
VENV = $(OUT)/venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install -q --require-hashes
LOCKS = build.txt requirements.txt
FITS = import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
TOOLS = import sysconfig; print(sysconfig.get_path("include"))

.PHONY: peer
peer:
	@if ! "$(PYTHON)" -c '$(FITS)' || ! printf '#include <Python.h>\n#include <gmp.h>\n' | \
	    cc -I"$$("$(PYTHON)" -c '$(TOOLS)')" -fsyntax-only -xc - 2>&1; then \
	  echo "py-libp2p: left out, it takes Python 3.11 or later with venv, a C compiler, and" \
	    "Debian's python3-dev and libgmp-dev"; \
	else \
	  $(MAKE) -s -f peer.mk OUT=$(OUT) PYTHON="$(PYTHON)" program; \
	fi

.PHONY: program
program: $(VENV)/.ready
	@rm -rf $(OUT)/peer && cp -R peer $(OUT)/peer && \
	  $(VENV)/bin/python -m compileall -q $(OUT)/peer
	@printf '#!/bin/sh\nhere=$$(dirname "$$0")\nexec "$$here/venv/bin/python" "$$here/peer" "$$@"\n' \
	  >$(OUT)/py-libp2p && chmod +x $(OUT)/py-libp2p
	@echo "py-libp2p: $(OUT)/py-libp2p"

# One of the packages comes as its source, and is built by what build.txt names.
$(VENV)/.ready: $(LOCKS)
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) -r build.txt
	@$(PIP) --no-build-isolation --prefer-binary -r requirements.txt
	@touch $@
