# Builds the libnice peer: `make -C images/libnice -f peer.mk OUT=...`; `testbed build peers` does it.
OUT ?= ../../out/peers/libnice
LIBRARIES = nice json-glib-1.0
CFLAGS ?= -O2 -g
WARNINGS = -std=gnu11 -Wall -Wextra -Wno-unused-parameter
VERSION = $(shell pkg-config --modversion nice)

.PHONY: peer
peer:
	@if command -v cc >/dev/null && pkg-config --exists $(LIBRARIES) 2>/dev/null; then \
	  $(MAKE) -s -f peer.mk OUT=$(OUT) $(OUT)/libnice && echo "libnice: $(OUT)/libnice"; \
	else \
	  echo "libnice: left out, it takes a C compiler, pkg-config and Debian's libnice-dev and libjson-glib-dev"; \
	fi

$(OUT)/libnice: peer.c contract.c echo.c wire.c contract.h echo.h wire.h peer.mk
	@mkdir -p $(OUT)
	$(CC) $(CFLAGS) $(WARNINGS) -DLIBNICE_VERSION='"$(VERSION)"' $$(pkg-config --cflags $(LIBRARIES)) \
	  -o $@ $(filter %.c,$^) $$(pkg-config --libs $(LIBRARIES))
