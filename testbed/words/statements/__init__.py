"""Sentences about what an explanation states: one module for each of `testbed.model.statement`."""
