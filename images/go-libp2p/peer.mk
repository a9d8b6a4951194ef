# Builds go-libp2p's current release as a peer, and an older one, from the same source:
# `make -C images/go-libp2p -f peer.mk OUT=...`; `make peers` does it.
OUT ?= ../../out/peers/go-libp2p
BUILD = go build -trimpath -p 2

.PHONY: peer
peer:
	@if command -v go >/dev/null; then \
	  mkdir -p $(OUT)-old && \
	  $(BUILD) -o $(OUT)/go-libp2p . && echo "go-libp2p: $(OUT)/go-libp2p" && \
	  $(BUILD) -modfile=old.mod -o $(OUT)-old/go-libp2p-old . && \
	  echo "go-libp2p-old: $(OUT)-old/go-libp2p-old"; \
	else \
	  echo "go-libp2p, go-libp2p-old: left out, they take Go 1.26 or later"; \
	fi
