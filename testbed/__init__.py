"""A NAT-traversal testbed: measured NATs, real stacks, verdicts read off the wire."""

__version__ = "0.2.0"
