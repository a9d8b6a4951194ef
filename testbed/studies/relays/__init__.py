"""Why punch at all: what a swarm costs its relays, with upgrades off and on."""
