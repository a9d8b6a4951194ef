# Installs js-libp2p and a Node of its own from the lock: `make -C images/js-libp2p -f peer.mk
# OUT=...`; `testbed build peers` does it.  js-libp2p wants Node 22; the machine's may be older, for the
# lock has the one that the peer runs with.
OUT ?= ../../out/peers/js-libp2p
NPM_CI = npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: peer
peer:
	@if command -v npm >/dev/null; then \
	  mkdir -p $(OUT) && cp *.mjs js-libp2p package.json package-lock.json $(OUT)/ && cd $(OUT) && \
	  { cmp -s package-lock.json .installed || \
	    { $(NPM_CI) >/dev/null && cp package-lock.json .installed; }; } && \
	  echo "js-libp2p: $(OUT)/js-libp2p"; \
	else \
	  echo "js-libp2p: left out, it takes Node 18 or later with npm"; \
	fi
