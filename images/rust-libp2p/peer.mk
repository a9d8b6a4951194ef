# Builds rust-libp2p's current release as a peer, and an older one, from the same source:
# `make -C images/rust-libp2p -f peer.mk OUT=...`; `testbed build peers` does it.
OUT ?= ../../out/peers/rust-libp2p
# What is compiled stays for the next time: a gigabyte.
TARGET ?= ../../out/cargo
# Empty: without the older release.
OLDER ?= yes
BUILD = nice -n 19 cargo build --quiet --release --locked -j 2 --target-dir $(TARGET)

.PHONY: peer
peer:
	@if command -v cargo >/dev/null && command -v cc >/dev/null; then \
	  mkdir -p $(OUT) $(OUT)-v0.54 && \
	  $(BUILD) && install $(TARGET)/release/rust-libp2p $(OUT) && \
	  echo "rust-libp2p: $(OUT)/rust-libp2p" && \
	  { test -n "$(OLDER)" || exit 0; } && \
	  $(BUILD) --manifest-path old/Cargo.toml && \
	  install $(TARGET)/release/rust-libp2p-old $(OUT)-v0.54/rust-libp2p-v0.54 && \
	  echo "rust-libp2p-v0.54: $(OUT)-v0.54/rust-libp2p-v0.54"; \
	else \
	  echo "rust-libp2p, rust-libp2p-v0.54: left out, they take Rust 1.88 or later and a C compiler"; \
	fi
