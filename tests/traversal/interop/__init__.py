"""Programs of other libp2p stacks, and how the tests drive them: JSON lines."""
