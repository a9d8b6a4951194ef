"""A NAT-traversal testbed: measured NATs, real stacks, verdicts read off the wire."""
