"""A process of strangers is kept apart from the machine, the harness and other nodes."""
