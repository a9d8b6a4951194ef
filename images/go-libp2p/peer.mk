# Builds go-libp2p's current release as a peer, and an older one, from the same source:
# `make -C images/go-libp2p -f peer.mk OUT=...`; `testbed build peers` does it.  v0.46 is the oldest
# release whose QUIC works when built with Go 1.26.
OUT ?= ../../out/peers/go-libp2p
OLD = $(OUT)-v0.46
# Empty: without the older release.
OLDER ?= yes
BUILD = go build -trimpath -p 2

.PHONY: peer
peer:
	@if command -v go >/dev/null; then \
	  mkdir -p $(OLD) && \
	  $(BUILD) -o $(OUT)/go-libp2p . && echo "go-libp2p: $(OUT)/go-libp2p" && \
	  { test -n "$(OLDER)" || exit 0; } && \
	  $(BUILD) -modfile=old.mod -o $(OLD)/go-libp2p-v0.46 . && \
	  echo "go-libp2p-v0.46: $(OLD)/go-libp2p-v0.46"; \
	else \
	  echo "go-libp2p, go-libp2p-v0.46: left out, they take Go 1.26 or later"; \
	fi
