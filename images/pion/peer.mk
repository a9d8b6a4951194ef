# Builds the pion peer: `make -C images/pion -f peer.mk OUT=...`; `testbed build peers` does it.
OUT ?= ../../out/peers/pion

.PHONY: peer
peer:
	@if command -v go >/dev/null; then \
	  go build -trimpath -o $(OUT)/pion . && echo "pion: $(OUT)/pion"; \
	else \
	  echo "pion: left out, it takes Go 1.24 or later"; \
	fi
