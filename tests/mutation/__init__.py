"""Mutation runs: small faults are put into the code, and the unit tests must notice them."""
